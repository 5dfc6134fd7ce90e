// RateLimiter: keeps the bytes written below a rate, over any span longer than a quarter second.
// Safe from any thread.
#pragma once

#include <cstdint>

#include "base/mutex.h"
#include "base/result.h"
#include "transfer/until.h"

namespace transship::transfer {

class RateLimiter {
 public:
  // Bytes per second, >= 0; 0: no limit.
  explicit RateLimiter(int64_t bytes_per_second);

  // From now on this rate, also for those who wait: they notice within 100 ms.
  void set_rate(int64_t bytes_per_second) EXCLUDES(mutex_);

  // Waits until `bytes` more may go; kCancelled or kTimeout as `until` says.
  Status take(int64_t bytes, const Until& until) EXCLUDES(mutex_);

  [[nodiscard]] int64_t rate() const EXCLUDES(mutex_);

 private:
  using Clock = Until::Clock;

  // Lets the bytes through that have become free since the last call.
  void advance(Clock::time_point now) REQUIRES(mutex_);

  mutable Mutex mutex_;
  double rate_ GUARDED_BY(mutex_);       // bytes per second; 0: no limit
  double taken_ GUARDED_BY(mutex_) = 0;  // bytes asked for, ever
  // Bytes let through by advanced_. Less than taken_: somebody waits; more: what a burst may use.
  double passed_ GUARDED_BY(mutex_) = 0;
  Clock::time_point advanced_ GUARDED_BY(mutex_) = Clock::now();
};

}  // namespace transship::transfer
