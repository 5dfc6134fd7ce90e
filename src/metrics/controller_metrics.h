// What every Kubernetes controller tells about itself, under the names that controller-runtime and
// client-go use, so that dashboards and alerts made for those work here.
// https://book.kubebuilder.io/reference/metrics-reference
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "metrics/registry.h"

namespace transship::metrics {

enum class ReconcileResult { kSuccess, kError, kRequeue, kRequeueAfter };

// controller_runtime_*{controller}
class ControllerMetrics {
 public:
  ControllerMetrics(Registry& registry, const std::string& controller,
                    int max_concurrent_reconciles);
  ~ControllerMetrics();

  void reconcile_started();  // a worker is busy from here
  void reconcile_finished(ReconcileResult result, double seconds);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// workqueue_*{name}
class WorkQueueMetrics {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  WorkQueueMetrics(Registry& registry, const std::string& name,
                   Clock clock = std::chrono::steady_clock::now);
  ~WorkQueueMetrics();

  void added();                // a key came in that was not waiting yet
  void retried();              // a key is to come back later because it failed
  void depth(size_t waiting);  // how many keys wait now
  void started(const std::string& key, double waited_seconds);  // a worker took the key
  // The worker is done with it. The time since `started` is measured here; a key that was never
  // started counts for nothing.
  void finished(const std::string& key);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// rest_client_requests_total{code,method,host}
class ClientMetrics {
 public:
  explicit ClientMetrics(Registry& registry);
  ~ClientMetrics();

  // `status` is the HTTP status; 0 where no answer came (code "<error>").
  void request_done(std::string_view method, std::string_view host, int status);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// leader_election_master_status{name}
class LeaderElectionMetrics {
 public:
  LeaderElectionMetrics(Registry& registry, const std::string& lease_name);
  ~LeaderElectionMetrics();

  void leading(bool is_leader);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace transship::metrics
