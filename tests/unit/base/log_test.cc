#include "base/log.h"

#include <gtest/gtest.h>

namespace transship {
namespace {

TEST(JsonEscape, LeavesPlainAndUtf8TextAlone) {
  EXPECT_EQ(log::json_escape("volume data"), "volume data");
  EXPECT_EQ(log::json_escape("d\xC3\xA9j\xC3\xA0 \xF0\x9F\x9A\xA2"),
            "d\xC3\xA9j\xC3\xA0 \xF0\x9F\x9A\xA2");
}

TEST(JsonEscape, EscapesWhatWouldBreakALine) {
  EXPECT_EQ(log::json_escape("a\"b\\c\nd\te"), R"(a\"b\\c\nd\u0009e)");
  EXPECT_EQ(log::json_escape(std::string_view("\0", 1)), R"(\u0000)");
}

TEST(JsonEscape, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(log::json_escape("\xFF"), R"(\u00ff)");
  EXPECT_EQ(log::json_escape("\xC3"), R"(\u00c3)");
  EXPECT_EQ(log::json_escape("\xC0\x80"), R"(\u00c0\u0080)");
  EXPECT_EQ(log::json_escape("\xED\xA0\x80"), R"(\u00ed\u00a0\u0080)");
}

TEST(ParseLevel, TakesTheFourNamesOnly) {
  auto level = log::Level::kInfo;
  EXPECT_TRUE(log::parse_level("debug", level));
  EXPECT_EQ(level, log::Level::kDebug);
  EXPECT_FALSE(log::parse_level("loud", level));
  EXPECT_EQ(level, log::Level::kDebug);
}

}  // namespace
}  // namespace transship
