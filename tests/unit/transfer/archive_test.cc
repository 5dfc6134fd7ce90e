// The stream as a file: by this engine, and by the tars that people have.
#include "transfer/archive.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "hostile_tree.h"
#include "judge.h"
#include "scratch.h"

namespace transship::transfer {
namespace {

TEST(Archive, IsWrittenAndReadBack) {
  const Scratch scratch;
  const UniqueFd from = scratch.open("from");
  const UniqueFd archive = scratch.open("archive");
  const UniqueFd to = scratch.open("to");
  make_hostile_tree(scratch.path("from"));
  auto written = write_archive(archive.get(), "data", from.get());
  ASSERT_TRUE(written.ok()) << written.error().message;
  EXPECT_EQ(shell(scratch.path("archive"), "ls -A").output, "data.tar\n");
  auto read = read_archive(archive.get(), "data", to.get());
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->summary.digest, written->digest);
  EXPECT_EQ(differences(scratch.path("from"), scratch.path("to")), "");
}

TEST(Archive, ReplacesAnEarlierOneOnlyWhenComplete) {
  const Scratch scratch;
  const UniqueFd from = scratch.open("from");
  const UniqueFd archive = scratch.open("archive");
  ASSERT_TRUE(write_archive(archive.get(), "data", from.get()).ok());
  const std::string before = shell(scratch.path("archive"), "sha256sum data.tar").output;
  scratch.write("from/file", std::string(1 << 20, 'x'));
  std::stop_source stop;
  stop.request_stop();
  auto stopped =
      write_archive(archive.get(), "data", from.get(), {{stop.get_token(), {}}, nullptr, nullptr});
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(shell(scratch.path("archive"), "ls -A; sha256sum data.tar").output,
            "data.tar\n" + before);
}

TEST(Archive, RefusesNamesThatAreNoFileNames) {
  const Scratch scratch;
  const UniqueFd from = scratch.open("from");
  const UniqueFd archive = scratch.open("archive");
  for (const char* name : {"", "..", "a/b", "../x", ".hidden"}) {
    auto written = write_archive(archive.get(), name, from.get());
    ASSERT_FALSE(written.ok()) << name;
    EXPECT_EQ(written.error().code, ErrorCode::kInvalid);
  }
}

TEST(Archive, AMissingOneIsNotFoundAndALongerOneCorrupt) {
  const Scratch scratch;
  const UniqueFd from = scratch.open("from");
  const UniqueFd archive = scratch.open("archive");
  const UniqueFd to = scratch.open("to");
  auto missing = read_archive(archive.get(), "data", to.get());
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(write_archive(archive.get(), "data", from.get()).ok());
  shell(scratch.path("archive"), "echo more >>data.tar");
  auto longer = read_archive(archive.get(), "data", to.get());
  ASSERT_FALSE(longer.ok());
  EXPECT_EQ(longer.error().code, ErrorCode::kCorrupt);
}

// GNU tar extracts everything but sockets, which it makes empty files of, and paths longer than the
// system takes.
class OtherTars : public ::testing::Test {
 protected:
  void SetUp() override {
    const UniqueFd from = scratch_.open("from");
    const UniqueFd archive = scratch_.open("archive");
    make_hostile_tree(scratch_.path("from"), {.deep = false});
    shell(scratch_.path("from"),
          "find . -type s -delete; setfattr -x trusted.overlay.opaque xattrs/file;"
          "touch -d @1600000000.123456789 . kinds kinds/elsewhere xattrs");
    auto written = write_archive(archive.get(), "data", from.get());
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  Scratch scratch_;
};

TEST_F(OtherTars, GnuTarListsEveryEntry) {
  const ShellResult listed =
      shell(scratch_.path(), "tar --warning=no-unknown-keyword -tf archive/data.tar | wc -l");
  EXPECT_EQ(listed.errors, "");
  EXPECT_EQ(listed.output, shell(scratch_.path("from"), "find . -printf 'x\\n' | wc -l").output);
  EXPECT_EQ(shell(scratch_.path(), "tar -tvf archive/data.tar >/dev/null").status, 0);
}

TEST_F(OtherTars, GnuTarExtractsAllOfIt) {
  const ShellResult extracted = shell(scratch_.path(),
                                      "mkdir gnu && tar --warning=no-unknown-keyword "
                                      "--warning=no-timestamp --xattrs --xattrs-include='*' "
                                      "-p --same-owner -C gnu -xf archive/data.tar");
  EXPECT_EQ(extracted.status, 0) << extracted.errors;
  EXPECT_EQ(extracted.errors, "");
  EXPECT_EQ(differences(scratch_.path("from"), scratch_.path("gnu")), "");
}

TEST_F(OtherTars, PythonListsAndExtractsIt) {
  const ShellResult done = shell(scratch_.path(), R"(mkdir py && python3 - <<'END'
import tarfile
with tarfile.open('archive/data.tar') as tar:
    members = tar.getmembers()
    print(len(members))
    tar.extractall('py', numeric_owner=True)
END)");
  EXPECT_EQ(done.status, 0) << done.errors;
  EXPECT_EQ(done.output, shell(scratch_.path("from"), "find . -printf 'x\\n' | wc -l").output);
  EXPECT_EQ(shell(scratch_.path(), "diff -r --no-dereference from/contents py/contents").output,
            "");
  EXPECT_EQ(shell(scratch_.path(), "diff -r --no-dereference from/names py/names").output, "");
}

}  // namespace
}  // namespace transship::transfer
