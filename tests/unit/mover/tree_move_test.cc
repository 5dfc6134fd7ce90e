#include "mover/tree_move.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "mover/locks.h"
#include "tests/unit/mover/fake_node.h"
#include "transfer/inode_attributes.h"

namespace transship::mover {
namespace {

// As kubelet has it where it counts emptyDirs by project quotas.
class ProjectTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    fs::create_directories(at_);
    const std::string image = (node_.top() / "image").string();
    const std::string make =
        "truncate -s 400M " + image + " && mkfs." + std::string(GetParam()) + " " + image;
    ASSERT_EQ(std::system(make.c_str()), 0);
    const std::string mount = "mount -o loop " + image + " " + at_.string();
    if (std::system(mount.c_str()) != 0) GTEST_SKIP() << "no project ids here: " << GetParam();
  }
  void TearDown() override { ::umount2(at_.c_str(), MNT_DETACH); }

  static uint32_t project(int directory, const std::string& name = "") {
    transfer::InodeAttributes found;
    EXPECT_TRUE(transfer::read_attributes({directory, name, name.empty()}, found));
    return found.project;
  }

  FakeNode node_;
  fs::path at_ = node_.top() / "mounted";
};

TEST_P(ProjectTest, ContentGetsTheIdThatTheVolumeHandsDown) {
  write_text(at_ / "from/one", "1");
  write_text(at_ / "from/directory/two", "2");
  write_text(at_ / "from/directory/deeper/three", "3");
  // What is locked, wherever it is, gets it all the same, and is locked again.
  const std::string content = (at_ / "from/directory").string();
  ASSERT_EQ(std::system(("chattr +i " + content + "/two " + content + "/deeper").c_str()), 0);
  fs::create_directories(at_ / "to");
  const UniqueFd from = open_directory(at_ / "from");
  const UniqueFd to = open_directory(at_ / "to");
  const transfer::AttributePlace volume{to.get(), "", /*directory=*/true};
  ASSERT_FALSE(transfer::set_attributes(volume, {transfer::InodeAttributes::kProjectInherit, 42}));
  EXPECT_EQ(move_children(from.get(), to.get(), kNoDeadline).error().code,
            ErrorCode::kPreconditionFailed)
      << "the kernel refuses it";
  auto handed_down = hands_project_down(to.get());
  ASSERT_OK(handed_down);
  EXPECT_TRUE(*handed_down);
  auto locks = find_locks(from.get(), LockScope::kAll);
  ASSERT_OK(locks);
  EXPECT_EQ(locks->size(), 2U);
  ASSERT_OK(take_off(*locks, from.get()));
  ASSERT_OK(give_project(from.get(), to.get(), kNoDeadline));
  ASSERT_OK(move_children(from.get(), to.get(), kNoDeadline));
  ASSERT_OK(copy_root_metadata(from.get(), to.get(), {}));
  ASSERT_OK(put_on(*locks, to.get()));
  for (const char* name : {"", "directory"})
    EXPECT_EQ(project(open_directory(at_ / "to" / name).get()), 42U) << name;
  EXPECT_EQ(project(open_directory(at_ / "to/directory").get(), "two"), 42U);
  EXPECT_EQ(read_text(at_ / "to/directory/two"), "2");
  for (const char* name : {"directory/deeper", "directory/two"}) {
    const UniqueFd fd(::open((at_ / "to" / name).c_str(), O_RDONLY | O_CLOEXEC));
    transfer::InodeAttributes found;
    ASSERT_TRUE(
        transfer::read_attributes({fd.get(), "", std::string(name) == "directory/deeper"}, found));
    EXPECT_NE(found.flags & transfer::InodeAttributes::kImmutable, 0) << name;
  }
}

TEST_P(ProjectTest, LockedBeyondTheLongestPathGetsItToo) {
  for (const char* name : {"from", "to"}) fs::create_directories(at_ / name);
  const UniqueFd from = open_directory(at_ / "from");
  const UniqueFd to = open_directory(at_ / "to");
  const UniqueFd deep = make_deep(from.get(), std::string(250, 'n'), 20);
  const UniqueFd file(::openat(deep.get(), "file", O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
  const transfer::AttributePlace place{file.get()};
  ASSERT_FALSE(transfer::set_attributes(place, {transfer::InodeAttributes::kImmutable, 0}));
  const transfer::AttributePlace volume{to.get(), "", /*directory=*/true};
  ASSERT_FALSE(transfer::set_attributes(volume, {transfer::InodeAttributes::kProjectInherit, 42}));
  auto locks = find_locks(from.get(), LockScope::kAll);
  ASSERT_OK(locks);
  ASSERT_EQ(locks->size(), 1U);
  // Written down and read again meanwhile.
  const Locks noted = locks_of(to_value(*locks));
  ASSERT_OK(take_off(noted, from.get()));
  ASSERT_OK(take_off(noted, to.get()));
  ASSERT_OK(give_project(from.get(), to.get(), kNoDeadline));
  ASSERT_OK(move_children(from.get(), to.get(), kNoDeadline));
  ASSERT_OK(put_on(noted, to.get()));
  transfer::InodeAttributes found;
  ASSERT_TRUE(transfer::read_attributes(place, found));
  EXPECT_EQ(found, (transfer::InodeAttributes{transfer::InodeAttributes::kImmutable, 42}));
}

INSTANTIATE_TEST_SUITE_P(On, ProjectTest, ::testing::Values("xfs -q", "ext4 -q -O project"));

}  // namespace
}  // namespace transship::mover
