#include "controller/base64.h"

#include <gtest/gtest.h>

namespace transship::controller {
namespace {

TEST(Base64, DecodesWhatSecretsCarry) {
  EXPECT_EQ(base64_decode("aGVsbG8="), "hello");
  EXPECT_EQ(base64_decode("aGVsbG8h"), "hello!");
  EXPECT_EQ(base64_decode("aA=="), "h");
  EXPECT_EQ(base64_decode(""), "");
  EXPECT_EQ(base64_decode("no base64!!!"), "");
}

}  // namespace
}  // namespace transship::controller
