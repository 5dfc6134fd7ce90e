#include "transfer/rate_limiter.h"

#include <algorithm>
#include <cassert>

namespace transship::transfer {
namespace {

// How far a sender may run ahead of the rate after a pause, and sleep in one go.
constexpr std::chrono::milliseconds kBurst{100};

}  // namespace

RateLimiter::RateLimiter(int64_t bytes_per_second)
    : bytes_per_second_(static_cast<double>(bytes_per_second)) {
  assert(bytes_per_second > 0);
}

Status RateLimiter::take(int64_t bytes, const Until& until) {
  using Clock = Until::Clock;
  Clock::time_point mine;
  {
    MutexLock lock(mutex_);
    free_at_ = std::max(free_at_, Clock::now() - kBurst);
    mine = free_at_;
    free_at_ += std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(static_cast<double>(bytes) / bytes_per_second_));
  }
  if (mine <= Clock::now()) return until.check("send at the bandwidth limit");
  return until.sleep_until(mine, "send at the bandwidth limit");
}

}  // namespace transship::transfer
