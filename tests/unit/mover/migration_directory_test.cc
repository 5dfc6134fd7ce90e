#include "mover/migration_directory.h"

#include <gtest/gtest.h>

#include <future>

#include "tests/unit/mover/fake_node.h"

namespace transship::mover {
namespace {

constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";
constexpr const char* kOther = "99999999-2222-4333-8444-555555555555";

TEST(MigrationDirectory, IsLockedByOneAtATime) {
  FakeNode node;
  SKIP_WITHOUT(node);
  auto first = lock_migration_directory(node.node(), kMigration, kNoDeadline);
  ASSERT_OK(first);
  ASSERT_OK(lock_migration_directory(node.node(), kOther, kNoDeadline));

  const Deadline soon(std::stop_token(), std::chrono::milliseconds(20));
  auto second = lock_migration_directory(node.node(), kMigration, soon);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kTimeout);
  EXPECT_NE(second.error().message.find("an earlier mover"), std::string::npos);

  auto waiting = std::async(std::launch::async, [&] {
    return lock_migration_directory(node.node(), kMigration, kNoDeadline);
  });
  first->reset();
  EXPECT_TRUE(waiting.get().ok());
}

}  // namespace
}  // namespace transship::mover
