#include "mover/tree_removal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>

#include "tests/unit/mover/fake_node.h"

namespace transship::mover {
namespace {

class TreeRemovalTest : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT(node_); }
  FakeNode node_;
  fs::path tree_ = node_.top() / "tree";
};

TEST_F(TreeRemovalTest, EmptiesADirectoryAndKeepsIt) {
  write_text(tree_ / "a/b/c", "x");
  fs::create_directory_symlink("/etc", tree_ / "a/link");
  ASSERT_OK(empty_directory(open_directory(tree_).get(), kNoDeadline));
  EXPECT_TRUE(fs::is_empty(tree_));
  EXPECT_TRUE(fs::exists("/etc/passwd"));
}

TEST_F(TreeRemovalTest, RemovesATreeAndWhatIsNotThereIsFine) {
  write_text(tree_ / "a/b/c", "x");
  const UniqueFd top = open_directory(node_.top());
  ASSERT_OK(remove_tree(top.get(), "tree", kNoDeadline));
  EXPECT_FALSE(fs::exists(tree_));
  ASSERT_OK(remove_tree(top.get(), "tree", kNoDeadline));
}

TEST_F(TreeRemovalTest, RemovesWhatIsImmutableOrAppendOnly) {
  write_text(tree_ / "a/b/c", "x");
  write_text(tree_ / "log", "x");
  fs::create_directories(tree_ / "append/empty");
  const std::string at = tree_.string();
  ASSERT_EQ(std::system(("cd " + at + " && chattr +a log append/empty append && " +
                         "chattr +i a/b/c a/b . # needs a file system with inode flags")
                            .c_str()),
            0);
  ASSERT_OK(empty_directory(open_directory(tree_).get(), kNoDeadline));
  EXPECT_TRUE(fs::is_empty(tree_));
  ASSERT_EQ(std::system(("chattr +a " + at).c_str()), 0);
  ASSERT_OK(remove_tree(open_directory(node_.top()).get(), "tree", kNoDeadline));
  EXPECT_FALSE(fs::exists(tree_));
}

TEST_F(TreeRemovalTest, DeepTreesTakeFewDescriptors) {
  fs::create_directories(tree_);
  const UniqueFd tree = open_directory(tree_);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{200, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  ASSERT_TRUE(make_deep(tree.get(), "directory", 1000).valid());
  const Status removed = empty_directory(tree.get(), kNoDeadline);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_OK(removed);
  EXPECT_TRUE(fs::is_empty(tree_));
}

TEST_F(TreeRemovalTest, NeverGoesIntoAMount) {
  const fs::path precious = node_.top() / "precious";
  write_text(precious / "data", "x");
  fs::create_directories(tree_ / "mounted");
  ASSERT_EQ(::mount(precious.c_str(), (tree_ / "mounted").c_str(), nullptr, MS_BIND, nullptr), 0);
  const Status removed = remove_tree(open_directory(node_.top()).get(), "tree", kNoDeadline);
  ASSERT_FALSE(removed.ok());
  EXPECT_EQ(removed.error().code, ErrorCode::kPreconditionFailed) << removed.error().message;
  EXPECT_EQ(read_text(precious / "data"), "x");
}

TEST_F(TreeRemovalTest, StopsWhenAsked) {
  write_text(tree_ / "a", "x");
  std::stop_source stop;
  stop.request_stop();
  const Deadline deadline(stop.get_token(), std::chrono::milliseconds(0));
  EXPECT_EQ(empty_directory(open_directory(tree_).get(), deadline).error().code,
            ErrorCode::kCancelled);
  EXPECT_TRUE(fs::exists(tree_ / "a"));
}

TEST_F(TreeRemovalTest, FreshIsEmptyOrAnEmptyLostAndFound) {
  fs::create_directories(tree_);
  const UniqueFd tree = open_directory(tree_);
  EXPECT_TRUE(*is_fresh(tree.get()));
  fs::create_directories(tree_ / "lost+found");
  EXPECT_TRUE(*is_fresh(tree.get()));
  write_text(tree_ / "lost+found/#12", "x");
  EXPECT_FALSE(*is_fresh(tree.get()));
  fs::remove_all(tree_ / "lost+found");
  write_text(tree_ / "file", "x");
  EXPECT_FALSE(*is_fresh(tree.get()));
}

}  // namespace
}  // namespace transship::mover
