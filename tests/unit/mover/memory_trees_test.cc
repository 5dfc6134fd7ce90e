#include "mover/memory_trees.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/mover/fake_node.h"

namespace transship::mover {
namespace {

constexpr const char* kMigration = "11111111-2222-4333-8444-666666666666";

class MemoryTreesTest : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT(node_); }
  [[nodiscard]] MemoryTrees trees() { return {node_.node(), kMigration}; }
  [[nodiscard]] fs::path at(const std::string& name) const {
    return node_.migration(kMigration) / "memory" / name;
  }

  FakeNode node_;
};

TEST_F(MemoryTreesTest, OutliveTheMoverOnATmpfsForRootAloneAndGoByRelease) {
  ASSERT_OK(trees().open("memory.app"));
  EXPECT_EQ(trees().path("memory.app"), at("memory.app").string());
  write_text(at("memory.app") / "pages", "secret");
  auto node = node_.open();
  ASSERT_OK(node);
  const MemoryTrees later(*node, kMigration);
  ASSERT_OK(later.open("memory.app"));
  EXPECT_EQ(read_text(at("memory.app") / "pages"), "secret");
  auto table = MountTable::read(Node::own_mountinfo());
  ASSERT_OK(table);
  const Mount* mount = table->containing(at("memory.app").string());
  ASSERT_NE(mount, nullptr);
  EXPECT_EQ(mount->file_system, "tmpfs");
  struct stat status {};
  ASSERT_EQ(::stat(at("").parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0700U);
  EXPECT_EQ(table->below(node_.migration(kMigration).string()).size(), 1U) << "mounted once";
  for (int i = 0; i < 2; ++i) ASSERT_OK(later.release());
  EXPECT_FALSE(fs::exists(at("").parent_path()));
}

TEST_F(MemoryTreesTest, RenewedOnesAreEmptyAndOthersStay) {
  ASSERT_OK(trees().open("memory.a"));
  ASSERT_OK(trees().open("memory.b"));
  write_text(at("memory.a") / "pages", "a");
  write_text(at("memory.b") / "pages", "b");
  ASSERT_OK(trees().renew("memory.a", kNoDeadline));
  EXPECT_TRUE(fs::is_empty(at("memory.a")));
  ASSERT_OK(trees().remove("memory.a", kNoDeadline));
  EXPECT_FALSE(fs::exists(at("memory.a")));
  EXPECT_EQ(read_text(at("memory.b") / "pages"), "b");
}

TEST_F(MemoryTreesTest, ToRemoveFromWhereNothingIsMountedIsNothing) {
  ASSERT_OK(trees().remove("memory.a", kNoDeadline));
  ASSERT_OK(trees().release());
  EXPECT_FALSE(fs::exists(node_.migration(kMigration)));
}

}  // namespace
}  // namespace transship::mover
