#include "mover/tree_move.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/unit/mover/fake_node.h"
#include "transfer/inode_attributes.h"

namespace transship::mover {
namespace {

// As kubelet has it where it counts emptyDirs by project quotas: on XFS.
class ProjectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    fs::create_directories(at_);
    const std::string image = (node_.top() / "image").string();
    const std::string make = "truncate -s 400M " + image + " && mkfs.xfs -q " + image +
                             " && mount -o loop " + image + " " + at_.string();
    ASSERT_EQ(std::system(make.c_str()), 0);
  }
  void TearDown() override { ::umount2(at_.c_str(), MNT_DETACH); }

  static uint32_t project(int directory, const std::string& name = "") {
    transfer::InodeAttributes found;
    EXPECT_TRUE(transfer::read_attributes({directory, name, name.empty()}, found));
    return found.project;
  }

  FakeNode node_;
  fs::path at_ = node_.top() / "xfs";
};

TEST_F(ProjectTest, ContentGetsTheIdThatTheVolumeHandsDown) {
  write_text(at_ / "from/one", "1");
  write_text(at_ / "from/directory/two", "2");
  ASSERT_EQ(std::system(("chattr +i " + (at_ / "from/directory/two").string()).c_str()), 0);
  fs::create_directories(at_ / "to");
  const UniqueFd from = open_directory(at_ / "from");
  const UniqueFd to = open_directory(at_ / "to");
  const transfer::AttributePlace volume{to.get(), "", /*directory=*/true};
  ASSERT_FALSE(transfer::set_attributes(volume, {transfer::InodeAttributes::kProjectInherit, 42}));
  EXPECT_EQ(move_children(from.get(), to.get(), kNoDeadline).error().code,
            ErrorCode::kPreconditionFailed)
      << "the kernel refuses it";
  ASSERT_OK(give_project(from.get(), to.get(), kNoDeadline));
  ASSERT_OK(move_children(from.get(), to.get(), kNoDeadline));
  ASSERT_OK(copy_root_metadata(from.get(), to.get(), {}));
  for (const char* name : {"", "directory"})
    EXPECT_EQ(project(open_directory(at_ / "to" / name).get()), 42U) << name;
  EXPECT_EQ(project(open_directory(at_ / "to/directory").get(), "two"), 42U);
  EXPECT_EQ(read_text(at_ / "to/directory/two"), "2");
}

}  // namespace
}  // namespace transship::mover
