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
  explicit RateLimiter(int64_t bytes_per_second);  // > 0

  // Waits until `bytes` more may go; kCancelled or kTimeout as `until` says.
  Status take(int64_t bytes, const Until& until) EXCLUDES(mutex_);

 private:
  const double bytes_per_second_;
  Mutex mutex_;
  Until::Clock::time_point free_at_ GUARDED_BY(mutex_);  // when all that was taken has gone
};

}  // namespace transship::transfer
