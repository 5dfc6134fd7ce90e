#include "reconcile/rate_limiter.h"

#include <algorithm>

namespace transship::reconcile {

RateLimiter::RateLimiter(RateLimits limits, Instant now)
    : limits_(limits), tokens_(limits.bucket_burst), refilled_(now) {}

std::chrono::nanoseconds RateLimiter::next_delay(const std::string& key, Instant now) {
  return std::max(key_delay(key), bucket_delay(now));
}

int RateLimiter::failures(const std::string& key) const {
  auto found = failures_.find(key);
  return found == failures_.end() ? 0 : found->second;
}

std::chrono::nanoseconds RateLimiter::key_delay(const std::string& key) {
  int doublings = failures_[key]++;
  std::chrono::nanoseconds delay = limits_.base_delay;
  for (; doublings > 0 && delay < limits_.maximum_delay; --doublings) delay *= 2;
  return std::min<std::chrono::nanoseconds>(delay, limits_.maximum_delay);
}

std::chrono::nanoseconds RateLimiter::bucket_delay(Instant now) {
  const std::chrono::duration<double> passed = now - refilled_;
  refilled_ = now;
  tokens_ = std::min(tokens_ + passed.count() * limits_.bucket_per_second,
                     static_cast<double>(limits_.bucket_burst));
  tokens_ -= 1;
  if (tokens_ >= 0) return std::chrono::nanoseconds::zero();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(-tokens_ / limits_.bucket_per_second));
}

}  // namespace transship::reconcile
