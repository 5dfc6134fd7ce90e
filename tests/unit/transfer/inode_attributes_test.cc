#include "transfer/inode_attributes.h"

#include <gtest/gtest.h>

namespace transship::transfer {
namespace {

TEST(InodeAttributes, FlagsAreWrittenInOneWay) {
  for (unsigned flags = 1; flags <= InodeAttributes::kAll; ++flags) {
    const auto parsed = parse_flag_names(flag_names(static_cast<uint8_t>(flags)));
    ASSERT_TRUE(parsed.has_value()) << flags;
    EXPECT_EQ(*parsed, flags);
  }
  EXPECT_EQ(flag_names(InodeAttributes::kImmutable | InodeAttributes::kAppendOnly), "sappnd,schg");
  for (const char* text : {"", "schg,sappnd", "schg,schg", "schg,", ",schg", "schg, nodump", "uchg",
                           "schg,compress", "SCHG"})
    EXPECT_FALSE(parse_flag_names(text).has_value()) << text;
}

}  // namespace
}  // namespace transship::transfer
