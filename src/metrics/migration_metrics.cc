#include "metrics/migration_metrics.h"

#include <utility>

#include "base/mutex.h"
#include "metrics/families.h"

namespace transship::metrics {
namespace {

// A StatefulSet's pod with little data is down for 1 to 4 s; what is copied while it is down adds
// to that.
const Buckets kDowntimeSeconds = {0.1, 0.25, 0.5, 1,  1.5, 2,  2.5, 3,   4,   5,   7.5,  10,
                                  15,  20,   30,  45, 60,  90, 120, 180, 300, 600, 1200, 3600};
const Buckets kPhaseSeconds = {0.05, 0.1, 0.25, 0.5, 1,   2,   3,   5,    10,   20,
                               30,   60,  120,  180, 300, 600, 900, 1800, 3600, 7200};
const Buckets kTotalSeconds = {1,  2,   3,   5,   7.5, 10,  15,   20,   30,   45,    60,
                               90, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800};

}  // namespace

struct MigrationMetrics::State {
  explicit State(prometheus::Registry& families)
      : by_phase(gauge(families, "containermigration_migrations",
                       "Number of ContainerMigrations by the phase that they are in.")),
        finished(counter(families, "containermigration_finished_total",
                         "Migrations that ended, by result and reason.")),
        transitions(counter(families, "containermigration_phase_transitions_total",
                            "How often a migration came into a phase.")),
        rollbacks(counter(families, "containermigration_rollbacks_total",
                          "Attempts that were undone, by reason.")),
        retries(counter(families, "containermigration_retries_total",
                        "Attempts that were made anew, by the reason why the one before failed.")),
        restores(counter(families, "containermigration_container_restores_total",
                         "Containers that were to go on with their layer or memory, by what came "
                         "of it: Running, Failed, ColdStart.")),
        bytes(counter(families, "containermigration_transferred_bytes_total",
                      "Bytes that went to the target, by what they are, and in which round.")),
        downtime(histogram(families, "containermigration_downtime_seconds",
                           "Time from the request to stop the pod until it was ready again.")
                     .Add({}, kDowntimeSeconds)),
        phase_seconds(histogram(families, "containermigration_phase_duration_seconds",
                                "Time that migrations spent in a phase.")),
        total_seconds(histogram(families, "containermigration_duration_seconds",
                                "Time from the start to the end of a migration, by result.")),
        ratio(gauge(families, "containermigration_progress_ratio",
                    "Share of the bytes that the target has, for each active migration.")),
        remaining(gauge(families, "containermigration_remaining_bytes",
                        "Bytes that are still to come, for each active migration.")),
        rate(gauge(families, "containermigration_transfer_bytes_per_second",
                   "Present rate of the transfer, for each active migration.")) {}

  struct Active {
    prometheus::Gauge* ratio;
    prometheus::Gauge* remaining;
    prometheus::Gauge* rate;
  };

  GaugeFamily& by_phase;
  CounterFamily& finished;
  CounterFamily& transitions;
  CounterFamily& rollbacks;
  CounterFamily& retries;
  CounterFamily& restores;
  CounterFamily& bytes;
  prometheus::Histogram& downtime;
  HistogramFamily& phase_seconds;
  HistogramFamily& total_seconds;
  GaugeFamily& ratio;
  GaugeFamily& remaining;
  GaugeFamily& rate;

  Mutex mutex;
  std::map<std::string, prometheus::Gauge*> phases GUARDED_BY(mutex);
  std::map<std::pair<std::string, std::string>, Active> active GUARDED_BY(mutex);
};

MigrationMetrics::MigrationMetrics(Registry& registry)
    : state_(std::make_unique<State>(registry.families())) {
  // From the first scrape on, so that a rate over the first migration is one.
  for (const char* round : {"first", "later", "final"})
    state_->bytes.Add({{"kind", "volume"}, {"round", round}});
  for (const char* state : {"Running", "Failed", "ColdStart"})
    state_->restores.Add({{"state", state}});
}
MigrationMetrics::~MigrationMetrics() = default;

void MigrationMetrics::count_by_phase(const std::map<std::string, int>& migrations) {
  const MutexLock lock(state_->mutex);
  for (const auto& [phase, count] : migrations) {
    prometheus::Gauge*& known = state_->phases[phase];
    if (known == nullptr) known = &state_->by_phase.Add({{"phase", phase}});
    known->Set(count);
  }
  for (const auto& [phase, known] : state_->phases) {
    if (!migrations.contains(phase)) known->Set(0);
  }
}

void MigrationMetrics::phase_entered(std::string_view phase) {
  state_->transitions.Add({{"phase", std::string(phase)}}).Increment();
}

void MigrationMetrics::phase_left(std::string_view phase, double seconds) {
  state_->phase_seconds.Add({{"phase", std::string(phase)}}, kPhaseSeconds).Observe(seconds);
}

void MigrationMetrics::finished(std::string_view result, std::string_view reason, double seconds) {
  state_->finished.Add({{"result", std::string(result)}, {"reason", std::string(reason)}})
      .Increment();
  state_->total_seconds.Add({{"result", std::string(result)}}, kTotalSeconds).Observe(seconds);
}

void MigrationMetrics::downtime(double seconds) { state_->downtime.Observe(seconds); }

void MigrationMetrics::rolled_back(std::string_view reason) {
  state_->rollbacks.Add({{"reason", std::string(reason)}}).Increment();
}

void MigrationMetrics::retried(std::string_view reason) {
  state_->retries.Add({{"reason", std::string(reason)}}).Increment();
}

void MigrationMetrics::restored(std::string_view state) {
  state_->restores.Add({{"state", std::string(state)}}).Increment();
}

void MigrationMetrics::transferred(std::string_view kind, std::string_view round, int64_t bytes) {
  state_->bytes.Add({{"kind", std::string(kind)}, {"round", std::string(round)}})
      .Increment(static_cast<double>(bytes));
}

void MigrationMetrics::progress(const std::string& namespace_name, const std::string& name,
                                double ratio, int64_t remaining_bytes, int64_t bytes_per_second) {
  const MutexLock lock(state_->mutex);
  const auto [entry, fresh] = state_->active.try_emplace({namespace_name, name});
  State::Active& gauges = entry->second;
  if (fresh) {
    const prometheus::Labels labels = {{"namespace", namespace_name}, {"name", name}};
    gauges = {&state_->ratio.Add(labels), &state_->remaining.Add(labels),
              &state_->rate.Add(labels)};
  }
  gauges.ratio->Set(ratio);
  gauges.remaining->Set(static_cast<double>(remaining_bytes));
  gauges.rate->Set(static_cast<double>(bytes_per_second));
}

void MigrationMetrics::forget(const std::string& namespace_name, const std::string& name) {
  const MutexLock lock(state_->mutex);
  const auto found = state_->active.find({namespace_name, name});
  if (found == state_->active.end()) return;
  state_->ratio.Remove(found->second.ratio);
  state_->remaining.Remove(found->second.remaining);
  state_->rate.Remove(found->second.rate);
  state_->active.erase(found);
}

}  // namespace transship::metrics
