#include "metrics/controller_metrics.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/mutex.h"
#include "metrics/families.h"

namespace transship::metrics {
namespace {

// controller-runtime's own boundaries (pkg/internal/controller/metrics).
const Buckets kReconcileSeconds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3,  0.35,
                                   0.4,   0.45, 0.5,   0.6,  0.7, 0.8,  0.9, 1.0,  1.25, 1.5,
                                   1.75,  2.0,  2.5,   3.0,  3.5, 4.0,  4.5, 5,    6,    7,
                                   8,     9,    10,    15,   20,  25,   30,  40,   50,   60};

// As controller-runtime has them for its queues: powers of ten.
const Buckets kQueueSeconds = {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000};

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

struct ControllerMetrics::State {
  State(prometheus::Registry& families, const std::string& controller)
      : total(counter(families, "controller_runtime_reconcile_total",
                      "Total number of reconciliations per controller and result.")),
        label({{"controller", controller}}),
        success(total.Add({{"controller", controller}, {"result", "success"}})),
        error(total.Add({{"controller", controller}, {"result", "error"}})),
        requeue(total.Add({{"controller", controller}, {"result", "requeue"}})),
        requeue_after(total.Add({{"controller", controller}, {"result", "requeue_after"}})),
        errors(counter(families, "controller_runtime_reconcile_errors_total",
                       "Total number of reconciliation errors per controller.")
                   .Add(label)),
        time(histogram(families, "controller_runtime_reconcile_time_seconds",
                       "Length of time per reconciliation per controller.")
                 .Add(label, kReconcileSeconds)),
        active(gauge(families, "controller_runtime_active_workers",
                     "Number of currently used workers per controller.")
                   .Add(label)),
        concurrent(gauge(families, "controller_runtime_max_concurrent_reconciles",
                         "Maximum number of concurrent reconciles per controller.")
                       .Add(label)) {}

  CounterFamily& total;
  prometheus::Labels label;
  prometheus::Counter& success;
  prometheus::Counter& error;
  prometheus::Counter& requeue;
  prometheus::Counter& requeue_after;
  prometheus::Counter& errors;
  prometheus::Histogram& time;
  prometheus::Gauge& active;
  prometheus::Gauge& concurrent;
};

ControllerMetrics::ControllerMetrics(Registry& registry, const std::string& controller,
                                     int max_concurrent_reconciles)
    : state_(std::make_unique<State>(registry.families(), controller)) {
  state_->concurrent.Set(max_concurrent_reconciles);
}
ControllerMetrics::~ControllerMetrics() = default;

void ControllerMetrics::reconcile_started() { state_->active.Increment(); }

void ControllerMetrics::reconcile_finished(ReconcileResult result, double seconds) {
  switch (result) {
    case ReconcileResult::kSuccess:
      state_->success.Increment();
      break;
    case ReconcileResult::kError:
      state_->error.Increment();
      state_->errors.Increment();
      break;
    case ReconcileResult::kRequeue:
      state_->requeue.Increment();
      break;
    case ReconcileResult::kRequeueAfter:
      state_->requeue_after.Increment();
      break;
  }
  state_->time.Observe(seconds);
  state_->active.Decrement();
}

struct WorkQueueMetrics::State {
  State(prometheus::Registry& families, const std::string& name, Clock now)
      : label({{"name", name}}),
        clock(std::move(now)),
        depth(gauge(families, "workqueue_depth", "Current depth of workqueue.").Add(label)),
        adds(counter(families, "workqueue_adds_total", "Total number of adds handled by workqueue.")
                 .Add(label)),
        retries(counter(families, "workqueue_retries_total",
                        "Total number of retries handled by workqueue.")
                    .Add(label)),
        waited(histogram(families, "workqueue_queue_duration_seconds",
                         "How long in seconds an item stays in workqueue before being requested.")
                   .Add(label, kQueueSeconds)),
        worked(histogram(families, "workqueue_work_duration_seconds",
                         "How long in seconds processing an item from workqueue takes.")
                   .Add(label, kQueueSeconds)),
        unfinished(gauge(families, "workqueue_unfinished_work_seconds",
                         "How many seconds of work are in progress and not yet observed by "
                         "work_duration.")
                       .Add(label)),
        longest(gauge(families, "workqueue_longest_running_processor_seconds",
                      "How many seconds the longest running processor has been running.")
                    .Add(label)) {}

  void look_at_running() {
    const MutexLock lock(mutex);
    double sum = 0;
    double most = 0;
    for (const auto& [key, since] : running) {
      const double duration = seconds(clock() - since);
      sum += duration;
      most = std::max(most, duration);
    }
    unfinished.Set(sum);
    longest.Set(most);
  }

  prometheus::Labels label;
  Clock clock;
  prometheus::Gauge& depth;
  prometheus::Counter& adds;
  prometheus::Counter& retries;
  prometheus::Histogram& waited;
  prometheus::Histogram& worked;
  prometheus::Gauge& unfinished;
  prometheus::Gauge& longest;
  Mutex mutex;
  std::map<std::string, std::chrono::steady_clock::time_point> running GUARDED_BY(mutex);
};

WorkQueueMetrics::WorkQueueMetrics(Registry& registry, const std::string& name, Clock clock)
    : state_(std::make_shared<State>(registry.families(), name, std::move(clock))) {
  registry.before_scrape([weak = std::weak_ptr<State>(state_)] {
    if (const auto state = weak.lock()) state->look_at_running();
  });
}
WorkQueueMetrics::~WorkQueueMetrics() = default;

void WorkQueueMetrics::added() { state_->adds.Increment(); }
void WorkQueueMetrics::retried() { state_->retries.Increment(); }
void WorkQueueMetrics::depth(size_t waiting) { state_->depth.Set(static_cast<double>(waiting)); }

void WorkQueueMetrics::started(const std::string& key, double waited_seconds) {
  state_->waited.Observe(waited_seconds);
  const MutexLock lock(state_->mutex);
  state_->running[key] = state_->clock();
}

void WorkQueueMetrics::finished(const std::string& key) {
  const MutexLock lock(state_->mutex);
  const auto found = state_->running.find(key);
  if (found == state_->running.end()) return;
  state_->worked.Observe(seconds(state_->clock() - found->second));
  state_->running.erase(found);
}

struct ClientMetrics::State {
  CounterFamily& requests;
};

ClientMetrics::ClientMetrics(Registry& registry)
    : state_(new State{counter(registry.families(), "rest_client_requests_total",
                               "Number of HTTP requests, partitioned by status code, method, and "
                               "host.")}) {}
ClientMetrics::~ClientMetrics() = default;

void ClientMetrics::request_done(std::string_view method, std::string_view host, int status) {
  state_->requests
      .Add({{"code", status == 0 ? "<error>" : std::to_string(status)},
            {"method", std::string(method)},
            {"host", std::string(host)}})
      .Increment();
}

struct LeaderElectionMetrics::State {
  prometheus::Gauge& leading;
};

LeaderElectionMetrics::LeaderElectionMetrics(Registry& registry, const std::string& lease_name)
    : state_(new State{gauge(registry.families(), "leader_election_master_status",
                             "Gauge of if the reporting system is master of the relevant lease, 0 "
                             "indicates backup, 1 indicates master. 'name' is the string used to "
                             "identify the lease.")
                           .Add({{"name", lease_name}})}) {}
LeaderElectionMetrics::~LeaderElectionMetrics() = default;

void LeaderElectionMetrics::leading(bool is_leader) { state_->leading.Set(is_leader ? 1 : 0); }

}  // namespace transship::metrics
