#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace transship {
namespace {

TEST(Result, CarriesAMoveOnlyValue) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  ASSERT_TRUE(result.ok());
  std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 7);
}

TEST(Result, TryReturnsTheErrorAtOnce) {
  bool reached = false;
  const auto run = [&]() -> Status {
    TRANSSHIP_TRY(Status(Error{ErrorCode::kGone, "too old"}));
    reached = true;
    return {};
  };
  const Status status = run();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kGone);
  EXPECT_FALSE(reached);
}

TEST(Error, DuringPutsTheContextFirst) {
  const Error error =
      Error{ErrorCode::kNoSpace, "write x: No space left on device", 3}.during("volume data");
  EXPECT_EQ(error.message, "volume data: write x: No space left on device");
  EXPECT_EQ(error.code, ErrorCode::kNoSpace);
  EXPECT_EQ(error.retry_after_seconds, 3);
}

TEST(Error, ErrnoGivesTheCodeThatFits) {
  EXPECT_EQ(errno_error("open x", ENOENT).code, ErrorCode::kNotFound);
  EXPECT_EQ(errno_error("write x", ENOSPC).code, ErrorCode::kNoSpace);
  EXPECT_EQ(errno_error("connect", ECONNREFUSED).code, ErrorCode::kUnavailable);
  EXPECT_EQ(errno_error("open x", ENOENT).message, "open x: No such file or directory");
}

}  // namespace
}  // namespace transship
