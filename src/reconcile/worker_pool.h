// WorkerPool: threads that take keys from a WorkQueue and reconcile them, and put back what failed.
// The rules are controller-runtime's.
// https://pkg.go.dev/sigs.k8s.io/controller-runtime/pkg/reconcile
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/result.h"
#include "reconcile/work_queue.h"

namespace transship::reconcile {

// What a reconcile that went well wants. Its failures are forgotten in any case.
struct ReconcileResult {
  std::optional<std::chrono::milliseconds>
      requeue_after;  // again after this, even if nothing changes
};

enum class Outcome {
  kSuccess,       // nothing more to do
  kError,         // failed; again after the rate limiter's delay
  kRequeue,       // read something stale (a conflict) or was cancelled; again soon
  kRequeueAfter,  // went well and asked to come again
};

// controller-runtime's label value: "success", "error", "requeue", "requeue_after".
std::string_view to_string(Outcome outcome);

// Is told about reconciles, for metrics. Called from the workers' threads.
class ReconcileObserver {
 public:
  virtual ~ReconcileObserver() = default;
  virtual void on_start() {}  // one more worker is busy
  virtual void on_finish(Outcome /*outcome*/, double /*seconds*/) {}
};

class WorkerPool {
 public:
  // Brings what the key names nearer to what is wanted. Called by one thread at a time for a key.
  // An error puts the key back, rate limited, not before the error's retry_after_seconds; kConflict
  // and kCancelled do so without a line in the log. What it throws counts as an error. `stop` is
  // requested as the pool stops: a long call may end early with kCancelled, or finish.
  using Reconcile =
      std::function<Result<ReconcileResult>(const std::string& key, const std::stop_token& stop)>;

  // The queue and the observer (may be null) outlive the pool. `workers` is at least 1.
  WorkerPool(WorkQueue& queue, int workers, Reconcile reconcile,
             ReconcileObserver* observer = nullptr);
  ~WorkerPool();  // as stop()
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Starts the threads; once. They are named "reconcile-0" and so on.
  void start();
  // No further key is taken; returns when reconciles in progress have finished. Keys stay in the
  // queue. Not from within a reconcile.
  void stop();

  // How many workers reconcile now.
  [[nodiscard]] int active() const { return active_.load(); }

 private:
  void work(const std::stop_token& stop);
  void process(const std::string& key, const std::stop_token& stop);
  Result<ReconcileResult> call(const std::string& key, const std::stop_token& stop);
  Outcome settle(const std::string& key, const Result<ReconcileResult>& result);

  WorkQueue& queue_;
  const int workers_;
  const Reconcile reconcile_;
  ReconcileObserver& observer_;
  std::atomic<int> active_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace transship::reconcile
