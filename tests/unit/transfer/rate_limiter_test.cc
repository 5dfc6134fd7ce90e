#include "transfer/rate_limiter.h"

#include <gtest/gtest.h>

#include <latch>
#include <thread>

namespace transship::transfer {
namespace {

constexpr int64_t kMegabyte = 1'000'000;

TEST(BandwidthLimit, KeepsBelowTheRate) {
  RateLimiter limiter(kMegabyte);
  const auto began = Until::Clock::now();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(limiter.take(kMegabyte / 10, {}).ok());
  ASSERT_TRUE(limiter.take(1, {}).ok());
  // What was taken but for a tenth of a second's worth has had its time.
  EXPECT_GE(Until::Clock::now() - began, std::chrono::milliseconds(400));
}

TEST(BandwidthLimit, ANewRateHoldsForThoseWhoWaitToo) {
  for (const int64_t rate : {int64_t{0}, 1000 * kMegabyte}) {
    RateLimiter limiter(1);
    ASSERT_TRUE(limiter.take(kMegabyte, {}).ok());
    std::latch ready(1);
    std::jthread waiting([&] {
      ready.count_down();
      EXPECT_TRUE(limiter.take(1, {}).ok());  // in 11 days
    });
    ready.wait();
    limiter.set_rate(rate);
  }
}

TEST(BandwidthLimit, ALimitThatIsSetLaterIsKept) {
  RateLimiter limiter(0);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(limiter.take(1000 * kMegabyte, {}).ok());
  limiter.set_rate(1);
  ASSERT_TRUE(limiter.take(10, {}).ok());
  Until soon;
  soon.end = Until::Clock::now() + std::chrono::milliseconds(20);
  EXPECT_EQ(limiter.take(1, soon).error().code, ErrorCode::kTimeout);
}

TEST(BandwidthLimit, WaitingEndsWhenAsked) {
  RateLimiter limiter(1);
  ASSERT_TRUE(limiter.take(kMegabyte, {}).ok());
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(limiter.take(1, {stop.get_token(), std::nullopt}).error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace transship::transfer
