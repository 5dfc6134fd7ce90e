#include "reconcile/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"

namespace transship::reconcile {

namespace {

// A conflict means that what was read is stale; the informer needs about this long to bring the
// rest.
constexpr std::chrono::milliseconds kConflictDelay{10};

ReconcileObserver& observer_or_none(ReconcileObserver* observer) {
  static ReconcileObserver none;
  return observer != nullptr ? *observer : none;
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSuccess:
      return "success";
    case Outcome::kError:
      return "error";
    case Outcome::kRequeue:
      return "requeue";
    case Outcome::kRequeueAfter:
      return "requeue_after";
  }
  return "error";
}

WorkerPool::WorkerPool(WorkQueue& queue, int workers, Reconcile reconcile,
                       ReconcileObserver* observer)
    : queue_(queue),
      workers_(std::max(workers, 1)),
      reconcile_(std::move(reconcile)),
      observer_(observer_or_none(observer)) {}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::start() {
  if (!threads_.empty()) return;
  for (int i = 0; i < workers_; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    const std::string name = "reconcile-" + std::to_string(i);
    pthread_setname_np(threads_.back().native_handle(), name.substr(0, 15).c_str());
  }
}

void WorkerPool::stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WorkerPool::work(const std::stop_token& stop) {
  while (auto key = queue_.get(stop)) process(*key, stop);
}

void WorkerPool::process(const std::string& key, const std::stop_token& stop) {
  const auto began = std::chrono::steady_clock::now();
  ++active_;
  observer_.on_start();
  const Outcome outcome = settle(key, call(key, stop));
  queue_.done(key);
  --active_;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  observer_.on_finish(outcome, took.count());
}

Result<ReconcileResult> WorkerPool::call(const std::string& key, const std::stop_token& stop) {
  try {
    return reconcile_(key, stop);
  } catch (const std::exception& e) {
    return Error{ErrorCode::kInternal, std::string("reconcile threw: ") + e.what()};
  } catch (...) {
    return Error{ErrorCode::kInternal, "reconcile threw something that is no std::exception"};
  }
}

Outcome WorkerPool::settle(const std::string& key, const Result<ReconcileResult>& result) {
  if (result.ok()) {
    queue_.forget(key);
    if (!result->requeue_after) return Outcome::kSuccess;
    queue_.add_after(key, *result->requeue_after);
    return Outcome::kRequeueAfter;
  }
  const Error& error = result.error();
  if (error.code == ErrorCode::kConflict || error.code == ErrorCode::kCancelled) {
    queue_.add_rate_limited(key, kConflictDelay);
    return Outcome::kRequeue;
  }
  queue_.add_rate_limited(key, std::chrono::seconds(std::max(error.retry_after_seconds, 0)));
  const bool bug = error.code == ErrorCode::kInternal;
  (bug ? log::error : log::warning)("reconcile failed, it will be tried again",
                                    {{"key", key},
                                     {"code", std::string(to_string(error.code))},
                                     {"error", error.message},
                                     {"failures", std::to_string(queue_.num_requeues(key))}});
  return Outcome::kError;
}

}  // namespace transship::reconcile
