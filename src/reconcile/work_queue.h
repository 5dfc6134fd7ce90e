// WorkQueue: the keys that wait for a reconcile. The semantics are client-go's: a key added several
// times before it is taken is handed out once; a key that is added while a worker has it comes
// again after `done`; so no key is ever with two workers. Safe from any thread.
// https://pkg.go.dev/k8s.io/client-go/util/workqueue
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/mutex.h"
#include "reconcile/rate_limiter.h"

namespace transship::reconcile {

// Is told what happens in a queue, for metrics. Called under the queue's lock, so in order: must
// return soon and must not call the queue.
class QueueObserver {
 public:
  virtual ~QueueObserver() = default;
  virtual void on_depth(std::size_t /*waiting*/) {}  // how many keys a worker could take now
  virtual void on_added() {}                         // a key came in that was not there yet
  virtual void on_retried() {}                       // add_rate_limited was called
  virtual void on_started(const std::string& /*key*/, double /*queue_seconds*/) {}
  virtual void on_finished(const std::string& /*key*/, double /*work_seconds*/) {}
};

class WorkQueue {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  struct Options {
    RateLimits limits;
    // The queue's only clock. Deadlines are looked at whenever a key is asked for, so a test that
    // turns its own clock needs no sleep.
    std::function<Instant()> now = std::chrono::steady_clock::now;
    QueueObserver* observer = nullptr;  // outlives the queue
  };
  // What workers hold now, in seconds.
  struct Unfinished {
    double total_seconds = 0;    // of all keys in work
    double longest_seconds = 0;  // of the one that was taken first
  };

  WorkQueue() : WorkQueue(Options{}) {}
  explicit WorkQueue(Options options);
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // All three ignore keys after shut_down().
  void add(const std::string& key) EXCLUDES(mutex_);
  // Adds the key after `delay`; at once where that is not positive. Of several for one key the
  // earliest counts and the others are dropped.
  void add_after(const std::string& key, std::chrono::nanoseconds delay) EXCLUDES(mutex_);
  // Counts a failure and adds the key after the rate limiter's delay, and not before `at_least`.
  void add_rate_limited(const std::string& key, std::chrono::nanoseconds at_least = {})
      EXCLUDES(mutex_);

  // The key went well: its next failure counts as the first. Leaves the queue as it is.
  void forget(const std::string& key) EXCLUDES(mutex_);
  // Failures of the key since it was last forgotten.
  [[nodiscard]] int num_requeues(const std::string& key) const EXCLUDES(mutex_);

  // Waits for a key, oldest first, and hands it to the caller, who must call done(). nullopt:
  // `stop` was requested, or the queue was shut down and has handed out what it had (delayed keys
  // are dropped then).
  [[nodiscard]] std::optional<std::string> get(const std::stop_token& stop) EXCLUDES(mutex_);
  // The caller of get() is through with the key, well or not. A key nobody holds is ignored.
  void done(const std::string& key) EXCLUDES(mutex_);

  void shut_down() EXCLUDES(mutex_);

  // How many keys a worker could take now.
  [[nodiscard]] std::size_t depth() EXCLUDES(mutex_);
  [[nodiscard]] Unfinished unfinished() const EXCLUDES(mutex_);

 private:
  struct Waiting {
    std::string key;
    Instant since;
  };
  void add_locked(const std::string& key, Instant since) REQUIRES(mutex_);
  void push(const std::string& key, Instant since) REQUIRES(mutex_);
  void add_at(const std::string& key, Instant due, Instant now) REQUIRES(mutex_);
  void promote_due(Instant now) REQUIRES(mutex_);
  std::string take(Instant now) REQUIRES(mutex_);

  const Options options_;
  QueueObserver& observer_;
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  bool shut_down_ GUARDED_BY(mutex_) = false;
  std::deque<Waiting> waiting_ GUARDED_BY(mutex_);  // in dirty_, not in processing_
  std::unordered_map<std::string, Instant> dirty_ GUARDED_BY(mutex_);       // since when to be done
  std::unordered_map<std::string, Instant> processing_ GUARDED_BY(mutex_);  // since when in work
  std::set<std::pair<Instant, std::string>> delayed_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, Instant> due_ GUARDED_BY(mutex_);  // delayed_ by key
  RateLimiter limiter_ GUARDED_BY(mutex_);
};

}  // namespace transship::reconcile
