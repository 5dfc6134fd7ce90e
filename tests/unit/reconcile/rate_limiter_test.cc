#include "reconcile/rate_limiter.h"

#include <gtest/gtest.h>

#include <chrono>

namespace transship::reconcile {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RateLimiter::Instant kStart{};

TEST(RateLimiterTest, DelayDoublesUpToTheMaximumAndStaysThere) {
  RateLimiter limiter({.base_delay = milliseconds(5), .maximum_delay = milliseconds(100)}, kStart);
  for (int expected : {5, 10, 20, 40, 80, 100, 100}) {
    EXPECT_EQ(limiter.next_delay("a", kStart), milliseconds(expected));
  }
  EXPECT_EQ(limiter.next_delay("b", kStart), milliseconds(5)) << "keys do not share failures";
  EXPECT_EQ(limiter.failures("a"), 7);
  EXPECT_EQ(limiter.failures("unknown"), 0);
}

TEST(RateLimiterTest, DelayOfAKeyThatFailsForeverDoesNotOverflow) {
  RateLimiter limiter({.bucket_per_second = 1e9, .bucket_burst = 1000000}, kStart);
  for (int i = 0; i < 100000; ++i) {
    const auto delay = limiter.next_delay("a", kStart);
    ASSERT_GE(delay, milliseconds(5));
    ASSERT_LE(delay, seconds(60));
  }
}

TEST(RateLimiterTest, BucketSpreadsManyKeysOut) {
  RateLimiter limiter({.bucket_per_second = 10, .bucket_burst = 2}, kStart);
  const auto delay = [&](const char* key, RateLimiter::Instant now) {
    return duration_cast<milliseconds>(limiter.next_delay(key, now)).count();
  };
  EXPECT_EQ(delay("a", kStart), 5);
  EXPECT_EQ(delay("b", kStart), 5);
  EXPECT_EQ(delay("c", kStart), 100);
  EXPECT_EQ(delay("d", kStart), 200);
  EXPECT_EQ(delay("e", kStart + milliseconds(100)), 200) << "one token came back";
  EXPECT_EQ(delay("f", kStart + seconds(60)), 5) << "it never holds more than the burst";
}

}  // namespace
}  // namespace transship::reconcile
