#include "reconcile/work_queue.h"

#include <algorithm>

namespace transship::reconcile {

namespace {

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

QueueObserver& observer_or_none(QueueObserver* observer) {
  static QueueObserver none;
  return observer != nullptr ? *observer : none;
}

}  // namespace

WorkQueue::WorkQueue(Options options)
    : options_(std::move(options)),
      observer_(observer_or_none(options_.observer)),
      limiter_(options_.limits, options_.now()) {}

void WorkQueue::add(const std::string& key) {
  MutexLock lock(mutex_);
  add_locked(key, options_.now());
}

void WorkQueue::add_after(const std::string& key, std::chrono::nanoseconds delay) {
  MutexLock lock(mutex_);
  const Instant now = options_.now();
  add_at(key, now + delay, now);
}

void WorkQueue::add_rate_limited(const std::string& key, std::chrono::nanoseconds at_least) {
  MutexLock lock(mutex_);
  if (shut_down_) return;
  const Instant now = options_.now();
  observer_.on_retried();
  add_at(key, now + std::max(limiter_.next_delay(key, now), at_least), now);
}

void WorkQueue::forget(const std::string& key) {
  MutexLock lock(mutex_);
  limiter_.forget(key);
}

int WorkQueue::num_requeues(const std::string& key) const {
  MutexLock lock(mutex_);
  return limiter_.failures(key);
}

std::optional<std::string> WorkQueue::get(const std::stop_token& stop) {
  // Before the lock: both its callback and its end wait for one another.
  std::stop_callback wake(stop, [this] {
    { MutexLock lock(mutex_); }
    changed_.notify_all();
  });
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    const Instant now = options_.now();
    promote_due(now);
    if (!waiting_.empty()) return take(now);
    if (shut_down_) return std::nullopt;
    if (delayed_.empty()) {
      changed_.wait(lock);
    } else {
      const auto left = delayed_.begin()->first - now;
      changed_.wait_until(lock, std::chrono::steady_clock::now() + left);
    }
  }
  return std::nullopt;
}

void WorkQueue::done(const std::string& key) {
  MutexLock lock(mutex_);
  auto held = processing_.find(key);
  if (held == processing_.end()) return;
  const double worked = seconds(options_.now() - held->second);
  processing_.erase(held);
  observer_.on_finished(key, worked);
  if (auto again = dirty_.find(key); again != dirty_.end()) push(key, again->second);
}

void WorkQueue::shut_down() {
  MutexLock lock(mutex_);
  promote_due(options_.now());
  shut_down_ = true;
  delayed_.clear();
  due_.clear();
  changed_.notify_all();
}

std::size_t WorkQueue::depth() {
  MutexLock lock(mutex_);
  promote_due(options_.now());
  return waiting_.size();
}

WorkQueue::Unfinished WorkQueue::unfinished() const {
  MutexLock lock(mutex_);
  const Instant now = options_.now();
  Unfinished sum;
  for (const auto& [key, since] : processing_) {
    const double held = seconds(now - since);
    sum.total_seconds += held;
    sum.longest_seconds = std::max(sum.longest_seconds, held);
  }
  return sum;
}

void WorkQueue::add_locked(const std::string& key, Instant since) {
  if (shut_down_ || !dirty_.emplace(key, since).second) return;
  observer_.on_added();
  if (!processing_.contains(key)) push(key, since);
}

void WorkQueue::push(const std::string& key, Instant since) {
  waiting_.push_back({key, since});
  observer_.on_depth(waiting_.size());
  changed_.notify_all();
}

void WorkQueue::add_at(const std::string& key, Instant due, Instant now) {
  if (shut_down_) return;
  if (due <= now) return add_locked(key, now);
  auto [known, fresh] = due_.emplace(key, due);
  if (!fresh) {
    if (known->second <= due) return;
    delayed_.erase({known->second, key});
    known->second = due;
  }
  const auto added = delayed_.emplace(due, key).first;
  if (added == delayed_.begin()) changed_.notify_all();
}

void WorkQueue::promote_due(Instant now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    auto [due, key] = std::move(delayed_.extract(delayed_.begin()).value());
    due_.erase(key);
    add_locked(key, due);
  }
}

std::string WorkQueue::take(Instant now) {
  Waiting next = std::move(waiting_.front());
  waiting_.pop_front();
  dirty_.erase(next.key);
  processing_.emplace(next.key, now);
  observer_.on_depth(waiting_.size());
  observer_.on_started(next.key, seconds(now - next.since));
  return std::move(next.key);
}

}  // namespace transship::reconcile
