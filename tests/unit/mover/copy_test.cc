#include "mover/copy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "tests/unit/transfer/hostile_tree.h"
#include "tests/unit/transfer/judge.h"
#include "tests/unit/transfer/scratch.h"

namespace transship::mover {
namespace {

using transfer::Scratch;

class CopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(from_.open("dir").valid());
    from_.write("dir/file", "content");
    from_.write("empty", "");
  }
  std::string exported() {
    const std::string path = scratch_.path("tree.tar");
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const auto written = export_tree(from_.path(), file.get(), "tree.tar");
    EXPECT_TRUE(written.ok()) << written.error().message;
    return path;
  }
  Result<transfer::Summary> imported(const std::string& tar, const std::string& to) {
    const UniqueFd file(::open(tar.c_str(), O_RDONLY | O_CLOEXEC));
    return import_tree(file.get(), tar, to);
  }

  Scratch from_;
  Scratch scratch_;
};

TEST_F(CopyTest, AHostileTreeArrivesAsItIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "owners and devices need root";
  const Scratch hostile;
  transfer::make_hostile_tree(hostile.path());
  const std::string to = scratch_.path("copy");
  const auto copied = copy({.from = hostile.path(), .to = to});
  ASSERT_TRUE(copied.ok()) << copied.error().message;
  EXPECT_EQ(transfer::differences(hostile.path(), to), "");
  EXPECT_TRUE(copied->summary.digest.starts_with("sha256:")) << copied->summary.digest;
  ASSERT_EQ(copied->rounds.size(), 1U);
  EXPECT_LE(copied->rounds[0].sent_seconds, copied->rounds[0].seconds);
}

TEST_F(CopyTest, NothingIsWrittenOverOrIntoTheSource) {
  ASSERT_TRUE(scratch_.open("full").valid());
  scratch_.write("full/mine", "here before");
  const auto over = copy({.from = from_.path(), .to = scratch_.path("full")});
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().code, ErrorCode::kPreconditionFailed) << over.error().message;
  EXPECT_EQ(transfer::shell(scratch_.path(), "cat full/mine; ls full | wc -l").output,
            "here before1\n");
  for (const std::string& inside :
       {from_.path("dir/new"), from_.path("."), from_.path("dir/../x")}) {
    const auto into = copy({.from = from_.path(), .to = inside});
    ASSERT_FALSE(into.ok()) << inside;
    EXPECT_EQ(into.error().code, ErrorCode::kInvalid) << inside;
  }
  EXPECT_EQ(copy({.from = from_.path("none"), .to = scratch_.path("x")}).error().code,
            ErrorCode::kNotFound);
}

TEST_F(CopyTest, WhatIsExportedIsImportedAgain) {
  const std::string tar = exported();
  const auto taken = imported(tar, scratch_.path("new"));
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_EQ(transfer::differences(from_.path(), scratch_.path("new")), "");
  const auto extracted = transfer::shell(
      scratch_.path(), "mkdir gnu; tar --warning=no-unknown-keyword -xpf tree.tar -C gnu");
  EXPECT_EQ(extracted.status, 0) << extracted.errors;
  EXPECT_EQ(transfer::differences(from_.path(), scratch_.path("gnu")), "");
}

TEST_F(CopyTest, ATarThatIsShortOrGoesOnIsRefused) {
  const std::string tar = exported();
  transfer::shell(scratch_.path(),
                  "head -c 2000 tree.tar >short.tar; (cat tree.tar; echo) >long.tar");
  EXPECT_EQ(imported(scratch_.path("short.tar"), scratch_.path("a")).error().code,
            ErrorCode::kCorrupt);
  EXPECT_EQ(imported(scratch_.path("long.tar"), scratch_.path("b")).error().code,
            ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace transship::mover
