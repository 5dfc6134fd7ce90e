// What goes wrong at either end is an error that names the path, never a wrong copy.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <functional>

#include "changes.h"
#include "scratch.h"
#include "transfer/tree.h"

namespace transship::transfer {
namespace {

// Does something once, in the middle of the stream: when `after` bytes have come.
class MeddlingSink final : public Sink {
 public:
  MeddlingSink(size_t after, std::function<void()> meddle)
      : after_(after), meddle_(std::move(meddle)) {}
  Status write(Bytes data) override {
    seen_ += data.size();
    if (meddle_ && seen_ >= after_) std::exchange(meddle_, nullptr)();
    return {};
  }

 private:
  size_t after_;
  size_t seen_ = 0;
  std::function<void()> meddle_;
};

void expect_error(const Error& error, ErrorCode code, const std::string& part) {
  EXPECT_EQ(error.code, code) << error.message;
  EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
}

// Three files of 1 MiB in each of two directories; the change happens after half of all.
class Change : public ::testing::TestWithParam<const char*> {};

TEST_P(Change, DuringTheReadIsAnError) {
  const Scratch from;
  shell(from.path(),
        "mkdir a b; for f in a/1 a/2 a/3 b/1 b/2 b/3; do head -c 1048576 /dev/urandom "
        ">$f; done; sleep 0.1");
  const UniqueFd directory = from.open();
  MeddlingSink sink(3 << 20, [&] { shell(from.path(), GetParam()); });
  auto sent = send_tree(directory.get(), sink);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::kConflict) << sent.error().message;
}

INSTANTIATE_TEST_SUITE_P(Failure, Change, ::testing::ValuesIn(kChangesWhileRead));

TEST(Failure, AMountPointInsideIsNamed) {
  const Scratch from;
  shell(from.path(), "mkdir -p d/mounted; touch d/file other");
  ASSERT_EQ(shell(from.path(), "true").status, 0);
  if (::mount("tmpfs", from.path("d/mounted").c_str(), "tmpfs", 0, nullptr) != 0) {
    GTEST_SKIP() << "mounting needs privileges";
  }
  MemorySink sink;
  auto sent = send_tree(from.open().get(), sink);
  auto scanned = scan_tree(from.open().get());
  ::umount2(from.path("d/mounted").c_str(), MNT_DETACH);
  ASSERT_FALSE(sent.ok());
  expect_error(sent.error(), ErrorCode::kInvalid, "./d/mounted");
  ASSERT_FALSE(scanned.ok());
  expect_error(scanned.error(), ErrorCode::kInvalid, "./d/mounted");

  ASSERT_EQ(::mount(from.path("other").c_str(), from.path("d/file").c_str(), "", MS_BIND, nullptr),
            0);
  auto bound = send_tree(from.open().get(), sink);
  ::umount2(from.path("d/file").c_str(), MNT_DETACH);
  ASSERT_FALSE(bound.ok());
  expect_error(bound.error(), ErrorCode::kInvalid, "./d/file");
}

TEST(Failure, AFullFileSystemIsNoSpaceAndNamesThePath) {
  const Scratch from;
  from.write("big", std::string(3 << 20, 'x'));
  Scratch to;
  if (!to.mount_tmpfs("size=1m")) GTEST_SKIP() << "mounting needs privileges";
  MemorySink sink;
  ASSERT_TRUE(send_tree(from.open().get(), sink).ok());
  MemorySource source(sink.data());
  auto received = receive_tree(to.open().get(), source);
  ASSERT_FALSE(received.ok());
  expect_error(received.error(), ErrorCode::kNoSpace, "./big");
}

TEST(Failure, NoInodesLeftIsNoSpace) {
  const Scratch from;
  shell(from.path(), "for i in $(seq 100); do : >f$i; done");
  Scratch to;
  if (!to.mount_tmpfs("nr_inodes=50")) GTEST_SKIP() << "mounting needs privileges";
  auto copied = copy_tree(from.open().get(), to.open().get());
  ASSERT_FALSE(copied.ok());
  expect_error(copied.error(), ErrorCode::kNoSpace, "./f");
}

TEST(Failure, WhatChangesOnDiskAfterTheWriteIsFound) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"printf y | dd of=a/file conv=notrunc; touch -d @5 a/file", "other content"},
      {"chmod 600 a/file", "./a/file"},
      {"rm a/file; touch -d @9 a", "is missing"},
      {"touch new; touch -d @5 .", "was not sent"},
      {"setfattr -n user.x -v 1 a/file", "extended attributes"},
      {"rm b; cp -p a/file b; touch -d @5 .", "hard-linked"},
      {"touch -d @6 a", "./a"}};
  for (const auto& [change, reason] : changes) {
    SCOPED_TRACE(change);
    const Scratch from;
    const Scratch to;
    shell(from.path(), "mkdir a; echo x >a/file; ln a/file b; touch -d @5 a/file a .");
    MemorySink sink;
    ASSERT_TRUE(send_tree(from.open().get(), sink).ok());
    MemorySource source(sink.data());
    auto received = receive_tree(to.open().get(), source);
    ASSERT_TRUE(received.ok()) << received.error().message;
    shell(to.path(), change);
    auto verified = verify_tree(to.open().get(), received->manifest);
    ASSERT_FALSE(verified.ok());
    expect_error(verified.error(), ErrorCode::kCorrupt, reason);
  }
}

TEST(Failure, AStopIsHeardEverywhere) {
  const Scratch from;
  const Scratch to;
  from.write("file", std::string(1 << 20, 'x'));
  std::stop_source stop;
  stop.request_stop();
  const Until until{stop.get_token(), {}};
  MemorySink sink;
  EXPECT_EQ(send_tree(from.open().get(), sink, {until, nullptr, nullptr}).error().code,
            ErrorCode::kCancelled);
  EXPECT_EQ(scan_tree(from.open().get(), until).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(digest_tree(from.open().get(), until).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(copy_tree(from.open().get(), to.open().get(), until).error().code,
            ErrorCode::kCancelled);
}

TEST(Failure, ADeadlineInThePastIsATimeout) {
  const Scratch from;
  MemorySink sink;
  const Until until{{}, Until::Clock::now() - std::chrono::seconds(1)};
  EXPECT_EQ(send_tree(from.open().get(), sink, {until, nullptr, nullptr}).error().code,
            ErrorCode::kTimeout);
}

TEST(Failure, AClosedPipeIsAnErrorAndNoSignal) {
  const Scratch from;
  from.write("file", std::string(1 << 20, 'x'));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  const UniqueFd writing(ends[1]);
  FdSink sink(writing.get(), "the pipe");
  auto sent = send_tree(from.open().get(), sink);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable);
}

TEST(Failure, PathsInMessagesAreEscaped) {
  const Scratch from;
  shell(from.path(), R"(mkdir $'new\nline\xff')");
  if (::mount("tmpfs", from.path("new\nline\xff").c_str(), "tmpfs", 0, nullptr) != 0) {
    GTEST_SKIP() << "mounting needs privileges";
  }
  MemorySink sink;
  auto sent = send_tree(from.open().get(), sink);
  ::umount2(from.path("new\nline\xff").c_str(), MNT_DETACH);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().message.find('\n'), std::string::npos);
  EXPECT_NE(sent.error().message.find("new\\nline"), std::string::npos) << sent.error().message;
}

}  // namespace
}  // namespace transship::transfer
