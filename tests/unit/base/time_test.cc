#include "base/time.h"

#include <gtest/gtest.h>

namespace transship {
namespace {

TEST(Time, WritesWhatTheApiServerReads) {
  const WallTime time(std::chrono::microseconds(1795487086123456));
  EXPECT_EQ(format_seconds(time), "2026-11-24T02:24:46Z");
  EXPECT_EQ(format_micros(time), "2026-11-24T02:24:46.123456Z");
}

TEST(Time, ReadsBothForms) {
  EXPECT_EQ(format_micros(*parse_time("2026-11-24T02:24:46.5Z")), "2026-11-24T02:24:46.500000Z");
  EXPECT_EQ(format_micros(*parse_time("2026-11-24T02:24:46Z")), "2026-11-24T02:24:46.000000Z");
  EXPECT_FALSE(parse_time(""));
  EXPECT_FALSE(parse_time("2026-11-24T02:24:46+01:00"));
}

TEST(Time, CountsSeconds) {
  EXPECT_DOUBLE_EQ(seconds_since("2026-11-24T02:24:46.5Z", *parse_time("2026-11-24T02:24:48Z")),
                   1.5);
  EXPECT_EQ(seconds_since("", *parse_time("2026-11-24T02:24:48Z")), 0);
}

}  // namespace
}  // namespace transship
