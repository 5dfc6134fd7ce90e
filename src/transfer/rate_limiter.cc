#include "transfer/rate_limiter.h"

#include <algorithm>
#include <cassert>
#include <chrono>

namespace transship::transfer {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kBurst{0.1};  // how far a sender may run ahead of the rate after a pause
constexpr Seconds kNap{0.1};    // a longer sleep would not notice a new rate

}  // namespace

RateLimiter::RateLimiter(int64_t bytes_per_second) : rate_(static_cast<double>(bytes_per_second)) {
  assert(bytes_per_second >= 0);
}

void RateLimiter::advance(Clock::time_point now) {
  passed_ += rate_ * Seconds(now - advanced_).count();
  passed_ = rate_ > 0 ? std::min(passed_, taken_ + rate_ * kBurst.count()) : taken_;
  advanced_ = now;
}

void RateLimiter::set_rate(int64_t bytes_per_second) {
  assert(bytes_per_second >= 0);
  MutexLock lock(mutex_);
  advance(Clock::now());
  rate_ = static_cast<double>(bytes_per_second);
}

int64_t RateLimiter::rate() const {
  MutexLock lock(mutex_);
  return static_cast<int64_t>(rate_);
}

Status RateLimiter::take(int64_t bytes, const Until& until) {
  double mine = 0;  // all that was taken before goes first
  {
    MutexLock lock(mutex_);
    advance(Clock::now());
    mine = taken_;
    taken_ += static_cast<double>(bytes);
  }
  for (;;) {
    const auto now = Clock::now();
    Seconds missing{0};
    {
      MutexLock lock(mutex_);
      advance(now);
      if (rate_ > 0) missing = Seconds((mine - passed_) / rate_);
    }
    if (missing <= Seconds(0)) return until.check("send at the bandwidth limit");
    const auto nap = std::chrono::ceil<Clock::duration>(std::min(missing, kNap));
    TRANSSHIP_TRY(until.sleep_until(now + nap, "send at the bandwidth limit"));
  }
}

}  // namespace transship::transfer
