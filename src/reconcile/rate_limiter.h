// RateLimiter: how long a key that failed waits before it is tried again. The longer of two
// answers, as client-go's DefaultTypedControllerRateLimiter gives: exponential back-off per key,
// and a token bucket for all keys together. Not thread-safe: WorkQueue calls it under its lock.
// https://pkg.go.dev/k8s.io/client-go/util/workqueue#DefaultTypedControllerRateLimiter
#pragma once

#include <chrono>
#include <string>
#include <unordered_map>

namespace transship::reconcile {

struct RateLimits {
  std::chrono::milliseconds base_delay{5};         // after a key's first failure; doubles each time
  std::chrono::milliseconds maximum_delay{60000};  // of one key; the bucket may add to it
  double bucket_per_second = 10;                   // retries of all keys together, in the long run
  int bucket_burst = 100;                          // that many at once
};

class RateLimiter {
 public:
  using Instant = std::chrono::steady_clock::time_point;

  RateLimiter(RateLimits limits, Instant now);

  // Counts a failure of the key, takes a token of the bucket, and says how long to wait from `now`.
  std::chrono::nanoseconds next_delay(const std::string& key, Instant now);

  // The key's next failure counts as its first.
  void forget(const std::string& key) { failures_.erase(key); }

  // Failures of the key since it was last forgotten.
  [[nodiscard]] int failures(const std::string& key) const;

 private:
  std::chrono::nanoseconds key_delay(const std::string& key);
  std::chrono::nanoseconds bucket_delay(Instant now);

  const RateLimits limits_;
  std::unordered_map<std::string, int> failures_;
  double tokens_;  // below zero: promised to retries that still wait
  Instant refilled_;
};

}  // namespace transship::reconcile
