#include "runtime/tree_build.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace transship::runtime {
namespace {

namespace fs = std::filesystem;

class TreeBuildTest : public testing::TestWithParam<BuildMode> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, for devices and trusted attributes";
    std::string pattern = testing::TempDir() + "tree." + std::string(6, 'X');
    root_ = ::mkdtemp(pattern.data());
    from_ = root_ / "from";
    to_ = root_ / "to";
    fs::create_directories(from_ / "dir/sub");
    fs::create_directories(to_);
    write(from_ / "dir/file", "content");
    fs::create_hard_link(from_ / "dir/file", from_ / "other");
    fs::create_symlink("/etc/passwd", from_ / "link");
    ASSERT_EQ(::mkfifo((from_ / "fifo").c_str(), 0640), 0);
    ASSERT_EQ(::mknod((from_ / "gone").c_str(), S_IFCHR, makedev(0, 0)), 0);
    attribute(from_ / "dir/sub", "trusted.overlay.opaque", "y");
    attribute(from_ / "dir/file", "user.name", "value");
    ASSERT_EQ(::chown((from_ / "dir/file").c_str(), 12, 34), 0);
    ASSERT_EQ(::chmod((from_ / "dir/file").c_str(), 04751), 0);
    ASSERT_EQ(::chown((from_ / "dir").c_str(), 56, 78), 0);
    ASSERT_EQ(::chmod((from_ / "dir").c_str(), 01770), 0);
    for (const char* name : {"dir/file", "dir/sub", "dir", "link", "fifo", ""}) old(from_ / name);
  }
  void TearDown() override {
    if (!root_.empty()) fs::remove_all(root_);
  }

  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void attribute(const fs::path& path, const char* name, const std::string& value) {
    ASSERT_EQ(::setxattr(path.c_str(), name, value.data(), value.size(), 0), 0) << path << name;
  }
  static std::string attribute(const fs::path& path, const char* name) {
    char value[64];
    const ssize_t n = ::getxattr(path.c_str(), name, value, sizeof value);
    return n < 0 ? "none" : std::string(value, static_cast<size_t>(n));
  }
  static void old(const fs::path& path) {
    const struct timespec times[] = {{1000, 5}, {2000, 7}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
  }
  static struct stat look(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  void expect_alike(const char* name) const {
    const struct stat a = look(from_ / name), b = look(to_ / name);
    EXPECT_EQ(a.st_mode, b.st_mode) << name;
    EXPECT_EQ(a.st_uid, b.st_uid) << name;
    EXPECT_EQ(a.st_gid, b.st_gid) << name;
    EXPECT_EQ(a.st_rdev, b.st_rdev) << name;
    EXPECT_EQ(a.st_mtim.tv_sec, b.st_mtim.tv_sec) << name;
    EXPECT_EQ(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec) << name;
  }

  fs::path root_;
  fs::path from_;
  fs::path to_;
};

TEST_P(TreeBuildTest, IsTheSameTree) {
  for (int again = 0; again < 2; ++again) {
    const Status built = build_tree(from_, to_, GetParam());
    ASSERT_TRUE(built.ok()) << built.error().message;
    for (const char* name : {"", "dir", "dir/file", "dir/sub", "other", "link", "fifo", "gone"}) {
      expect_alike(name);
    }
    EXPECT_EQ(read(to_ / "dir/file"), "content");
    EXPECT_EQ(fs::read_symlink(to_ / "link"), "/etc/passwd");
    EXPECT_EQ(look(to_ / "dir/file").st_ino, look(to_ / "other").st_ino);
    EXPECT_EQ(attribute(to_ / "dir/sub", "trusted.overlay.opaque"), "y");
    EXPECT_EQ(attribute(to_ / "dir/file", "user.name"), "value");
  }
  EXPECT_EQ(read(from_ / "dir/file"), "content");
}

TEST_P(TreeBuildTest, ReplacesWhatIsInTheWayAndLeavesTheRest) {
  write(to_ / "dir", "a file in place of a directory");
  fs::create_directories(to_ / "other/deep");
  fs::create_symlink("/nowhere", to_ / "fifo");
  write(to_ / "mine", "stays");
  ASSERT_TRUE(build_tree(from_, to_, GetParam()).ok());
  expect_alike("dir/file");
  expect_alike("other");
  expect_alike("fifo");
  EXPECT_EQ(read(to_ / "mine"), "stays");
}

TEST_P(TreeBuildTest, ALinkInTheWayIsNotFollowed) {
  fs::create_directories(root_ / "outside");
  fs::create_directory_symlink(root_ / "outside", to_ / "dir");
  ASSERT_TRUE(build_tree(from_, to_, GetParam()).ok());
  EXPECT_TRUE(fs::is_empty(root_ / "outside"));
  EXPECT_TRUE(fs::is_directory(fs::symlink_status(to_ / "dir")));
}

TEST_P(TreeBuildTest, FilesAreSharedOrNot) {
  ASSERT_TRUE(build_tree(from_, to_, GetParam()).ok());
  EXPECT_EQ(look(from_ / "dir/file").st_ino == look(to_ / "dir/file").st_ino,
            GetParam() == BuildMode::kLink);
}

TEST_P(TreeBuildTest, HolesStayHoles) {
  write(from_ / "holes", "begin");
  ASSERT_EQ(::truncate((from_ / "holes").c_str(), 64 << 20), 0);
  ASSERT_TRUE(build_tree(from_, to_, GetParam()).ok());
  EXPECT_EQ(look(to_ / "holes").st_size, 64 << 20);
  EXPECT_LT(look(to_ / "holes").st_blocks, 1024);
}

TEST_P(TreeBuildTest, WhatOverlayNotedForItselfIsNotCarried) {
  attribute(from_ / "dir", "trusted.overlay.origin", "x");
  attribute(from_ / "dir", "trusted.overlay.impure", "y");
  ASSERT_TRUE(build_tree(from_, to_, GetParam()).ok());
  EXPECT_EQ(attribute(to_ / "dir", "trusted.overlay.origin"), "none");
  EXPECT_EQ(attribute(to_ / "dir", "trusted.overlay.impure"), "none");
}

TEST_P(TreeBuildTest, NothingIsLeftOfAnEmptiedTree) {
  ASSERT_TRUE(build_tree(from_, to_, GetParam()).ok());
  fs::create_directory_symlink(from_, to_ / "dir/outside");
  ASSERT_TRUE(empty_tree(to_).ok());
  EXPECT_TRUE(fs::is_empty(to_));
  EXPECT_EQ(read(from_ / "dir/file"), "content");
}

TEST_P(TreeBuildTest, AMissingTreeIsAnError) {
  EXPECT_EQ(build_tree(root_ / "none", to_, GetParam()).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(build_tree(from_, root_ / "none", GetParam()).ok());
}

INSTANTIATE_TEST_SUITE_P(Modes, TreeBuildTest, testing::Values(BuildMode::kLink, BuildMode::kCopy),
                         [](const auto& row) {
                           return row.param == BuildMode::kLink ? "Link" : "Copy";
                         });

}  // namespace
}  // namespace transship::runtime
