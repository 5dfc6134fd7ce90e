// Observers: what the client, the queue and the workers tell, as controller-runtime's metrics.
#pragma once

#include <string>

#include "kube/client.h"
#include "metrics/controller_metrics.h"
#include "reconcile/work_queue.h"
#include "reconcile/worker_pool.h"

namespace transship::controller {

class Observers : public kube::RequestObserver,
                  public reconcile::QueueObserver,
                  public reconcile::ReconcileObserver {
 public:
  Observers(metrics::Registry& registry, int workers)
      : controller_(registry, "containermigration", workers),
        queue_(registry, "containermigration"),
        client_(registry),
        leader_(registry, "transship-controller") {}

  void on_request(std::string_view method, std::string_view host, int status) override {
    client_.request_done(method, host, status);
  }
  void on_depth(std::size_t waiting) override { queue_.depth(waiting); }
  void on_added() override { queue_.added(); }
  void on_retried() override { queue_.retried(); }
  void on_started(const std::string& key, double queue_seconds) override {
    queue_.started(key, queue_seconds);
  }
  void on_finished(const std::string& key, double /*work_seconds*/) override {
    queue_.finished(key);
  }
  void on_start() override { controller_.reconcile_started(); }
  void on_finish(reconcile::Outcome outcome, double seconds) override {
    using metrics::ReconcileResult;
    using reconcile::Outcome;
    controller_.reconcile_finished(outcome == Outcome::kSuccess   ? ReconcileResult::kSuccess
                                   : outcome == Outcome::kError   ? ReconcileResult::kError
                                   : outcome == Outcome::kRequeue ? ReconcileResult::kRequeue
                                                                  : ReconcileResult::kRequeueAfter,
                                   seconds);
  }
  void leading(bool is_leader) { leader_.leading(is_leader); }

 private:
  metrics::ControllerMetrics controller_;
  metrics::WorkQueueMetrics queue_;
  metrics::ClientMetrics client_;
  metrics::LeaderElectionMetrics leader_;
};

}  // namespace transship::controller
