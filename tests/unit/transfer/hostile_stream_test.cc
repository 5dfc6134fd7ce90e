// Streams that are cut, damaged or malicious are refused, and nothing outside is touched.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "crafted_stream.h"
#include "judge.h"
#include "scratch.h"
#include "transfer/tree.h"

namespace transship::transfer {
namespace {

// A destination with things around it that must stay as they are.
class HostileStream : public ::testing::Test {
 protected:
  void SetUp() override {
    shell(scratch_.path(), "mkdir outside to; echo secret >outside/file; ln -s ../outside to.link");
    before_ = around();
  }

  // All but the destination.
  [[nodiscard]] std::map<std::string, std::string> around() const {
    auto all = describe_tree(scratch_.path());
    std::erase_if(all, [](const auto& entry) {
      return entry.first.empty() || entry.first == "to" || entry.first.starts_with("to/");
    });
    return all;
  }

  Result<Received> receive(const std::string& bytes, const ReceiveLimits& limits = {}) {
    std::filesystem::remove_all(scratch_.path("to"));
    MemorySource source(as_bytes(bytes));
    const UniqueFd to = scratch_.open("to");
    return receive_tree(to.get(), source, {{}, nullptr, limits});
  }

  void expect_refused(const std::string& bytes, const std::string& reason,
                      const ReceiveLimits& limits = {}) {
    auto received = receive(bytes, limits);
    ASSERT_FALSE(received.ok());
    EXPECT_EQ(received.error().code, ErrorCode::kCorrupt) << received.error().message;
    EXPECT_NE(received.error().message.find(reason), std::string::npos)
        << received.error().message << "\n  lacks: " << reason;
    EXPECT_EQ(around(), before_);
  }

  Scratch scratch_;
  std::map<std::string, std::string> before_;
};

// A stream of some entries of most kinds.
std::string sound_stream() {
  CraftedStream stream;
  Entry with_xattr = entry_at("./a", EntryKind::kRegular);
  with_xattr.xattrs = {{"user.x", "value"}};
  stream.add(with_xattr, "content of a");
  stream.add(entry_at("./d", EntryKind::kDirectory));
  stream.add_linkable(entry_at("./d/b", EntryKind::kRegular), std::string(3000, 'b'));
  stream.add_link("./d/c", "./d/b");
  stream.add(entry_at("./s", EntryKind::kSymlink));
  stream.add(entry_at("./" + std::string(150, 'n'), EntryKind::kSocket));
  return stream.finish();
}

TEST_F(HostileStream, FlagsAndProjectIdsThatCannotBe) {
  const auto stream_with = [](EntryKind kind, uint8_t flags, uint32_t project) {
    CraftedStream stream;
    Entry entry = entry_at("./a", kind);
    entry.attributes = {flags, project};
    stream.add(entry);
    return stream.finish();
  };
  const std::string none = "its header is not one of this format";
  expect_refused(stream_with(EntryKind::kRegular, InodeAttributes::kDirSync, 0), none);
  expect_refused(stream_with(EntryKind::kFifo, InodeAttributes::kNoDump, 0), none);
  const std::string with_project = stream_with(EntryKind::kRegular, 0, 7);
  MemorySource source(as_bytes(with_project));
  std::filesystem::remove_all(scratch_.path("to"));
  const UniqueFd to = scratch_.open("to");
  auto received = receive_tree(to.get(), source, {{}, nullptr, {}, /*projects=*/false});
  ASSERT_FALSE(received.ok());
  EXPECT_EQ(received.error().code, ErrorCode::kCorrupt) << received.error().message;
}

TEST_F(HostileStream, TheRootsProjectIdIsWhatTheFirstEntrySays) {
  const std::string other = "another project id than its first entry says";
  CraftedStream unannounced;
  unannounced.add(entry_at("./a", EntryKind::kFifo));
  expect_refused(unannounced.finish([](EntryHeader& root) { root.entry.attributes.project = 7; }),
                 other);
  CraftedStream late;
  EntryHeader second;
  second.entry = entry_at("./b", EntryKind::kFifo);
  second.volume_project = 7;
  late.add(entry_at("./a", EntryKind::kFifo));
  late.add_raw(second, "");
  expect_refused(late.finish([](EntryHeader& root) { root.entry.attributes.project = 7; }), other);
}

TEST_F(HostileStream, ACraftedSoundOneIsTaken) {
  auto received = receive(sound_stream());
  ASSERT_TRUE(received.ok()) << received.error().message;
  EXPECT_EQ(received->summary.totals.entries, 7);
}

TEST_F(HostileStream, CutAnywhereItIsAnError) {
  const std::string sound = sound_stream();
  for (size_t length = 0; length < sound.size(); length += length < 4096 ? 97 : 61) {
    SCOPED_TRACE(length);
    expect_refused(sound.substr(0, length), "cut off");
  }
  expect_refused(sound.substr(0, sound.size() - 1), "cut off");
}

TEST_F(HostileStream, EveryFlippedBitIsFound) {
  const std::string sound = sound_stream();
  std::random_device device;
  const uint32_t seed = device();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 600; ++i) {
    std::string damaged = sound;
    const size_t at = random() % damaged.size();
    const auto bit = static_cast<unsigned>(random() % 8);
    damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ (1U << bit));
    auto received = receive(damaged);
    ASSERT_FALSE(received.ok()) << "byte " << at << " bit " << bit;
    EXPECT_EQ(received.error().code, ErrorCode::kCorrupt) << received.error().message;
  }
  EXPECT_EQ(around(), before_);
}

TEST_F(HostileStream, PathsThatLeadOutAreRefused) {
  for (const std::string path : {"./../evil", "/tmp/evil", "../evil", "./d/../../evil", "./",
                                 "./d//e", "./.", "./d/.", "..", "evil", "./..", "./d/"}) {
    SCOPED_TRACE(path);
    for (const EntryKind kind : {EntryKind::kRegular, EntryKind::kDirectory, EntryKind::kSymlink}) {
      CraftedStream stream;
      stream.add(entry_at("./d", EntryKind::kDirectory));
      stream.add(entry_at(path, kind));
      expect_refused(stream.finish(), "its path");
    }
  }
}

TEST_F(HostileStream, NothingGoesThroughASymbolicLink) {
  Entry link = entry_at("./link", EntryKind::kSymlink);
  link.link_target = "../outside";
  CraftedStream below;
  below.add(link);
  below.add(entry_at("./link/file", EntryKind::kRegular), "overwritten");
  expect_refused(below.finish(), "has not come before");

  CraftedStream replaced;
  replaced.add(link);
  replaced.add(entry_at("./link", EntryKind::kDirectory));
  expect_refused(replaced.finish(), "came twice");

  CraftedStream over;
  Entry to_file = entry_at("./link", EntryKind::kSymlink);
  to_file.link_target = "../outside/file";
  over.add(to_file);
  over.add(entry_at("./link", EntryKind::kRegular), "overwritten");
  expect_refused(over.finish(), "came twice");
}

TEST_F(HostileStream, HardLinksOnlyToWhatCameInIt) {
  for (const std::string target : {"../outside/file", "./../outside/file", "/etc/passwd", "./later",
                                   "./plain", "./d", "./link/file", "."}) {
    SCOPED_TRACE(target);
    CraftedStream stream;
    Entry link = entry_at("./link", EntryKind::kSymlink);
    link.link_target = "../outside";
    stream.add(link);
    stream.add(entry_at("./plain", EntryKind::kRegular), "x");
    stream.add(entry_at("./d", EntryKind::kDirectory));
    stream.add_link("./hard", target);
    expect_refused(stream.finish(), "hard link");
  }
}

TEST_F(HostileStream, OrderAndDoublesAreChecked) {
  CraftedStream orphan;
  orphan.add(entry_at("./d/file", EntryKind::kRegular), "x");
  expect_refused(orphan.finish(), "has not come before");

  CraftedStream left;
  left.add(entry_at("./d", EntryKind::kDirectory));
  left.add(entry_at("./e", EntryKind::kDirectory));
  left.add(entry_at("./d/file", EntryKind::kRegular), "x");
  expect_refused(left.finish(), "left already");

  CraftedStream twice;
  twice.add(entry_at("./d", EntryKind::kDirectory));
  twice.add(entry_at("./d", EntryKind::kDirectory));
  expect_refused(twice.finish(), "came twice");
}

TEST_F(HostileStream, AttributesOfTheNodesPolicyAreRefused) {
  for (const char* name :
       {"security.selinux", "trusted.overlay.redirect", "system.nfs4_acl", "x"}) {
    CraftedStream stream;
    Entry entry = entry_at("./a", EntryKind::kRegular);
    entry.xattrs = {{name, "v"}};
    stream.add(entry, "x");
    expect_refused(stream.finish(), "none to be set");
  }
}

TEST_F(HostileStream, LimitsHold) {
  const std::string sound = sound_stream();
  ReceiveLimits limits;
  limits.entries = 6;
  expect_refused(sound, "more entries", limits);
  limits = {};
  limits.bytes = 3011;
  expect_refused(sound, "more bytes", limits);
  limits = {};
  limits.path_bytes = 100;
  expect_refused(sound, "too long", limits);
  limits = {};
  limits.header_bytes = 100;
  expect_refused(sound, "at most 100", limits);
  CraftedStream long_name;
  long_name.add(entry_at("./" + std::string(256, 'x'), EntryKind::kRegular), "x");
  expect_refused(long_name.finish(), "component");
}

TEST_F(HostileStream, TheEndRecordMustAgree) {
  const auto with_end = [](const std::function<void(EndRecord&)>& change) {
    CraftedStream stream;
    stream.add(entry_at("./a", EntryKind::kRegular), "x");
    return stream.finish([&](EntryHeader& header) { change(*header.end); });
  };
  expect_refused(with_end([](EndRecord& end) { ++end.entries; }), "other totals");
  expect_refused(with_end([](EndRecord& end) { --end.bytes; }), "other totals");
  expect_refused(with_end([](EndRecord& end) { end.digest = "sha256:" + std::string(64, '0'); }),
                 "volume digest");
}

TEST_F(HostileStream, SparseMapsAreChecked) {
  for (const std::string map :
       {"1\n0\n99\n", "2\n5\n1\n3\n1\n", "1\n-1\n1\n", "0\n", "1\n9\n5\n", "999999999\n", "x\n",
        "1\n9223372036854775807\n9223372036854775807\n", "01\n0\n1\n"}) {
    SCOPED_TRACE(map);
    CraftedStream stream;
    EntryHeader header;
    header.entry = entry_at("./sparse", EntryKind::kRegular);
    header.entry.size = 10;
    header.sparse = true;
    std::string data = map;
    data.resize(512);
    stream.add_raw(header, data + "abcde");
    expect_refused(stream.finish(), "./sparse");
  }
}

TEST_F(HostileStream, OtherTarsAreRefused) {
  const Scratch other;
  shell(other.path(),
        "mkdir t; echo x >t/f; tar -C t -cf gnu.tar .; tar --posix -C t -cf pax.tar .;"
        "head -c 20000 /dev/urandom >random.tar; : >empty.tar; "
        "head -c 20480 /dev/zero >zero.tar");
  for (const char* name : {"gnu.tar", "pax.tar", "random.tar", "empty.tar", "zero.tar"}) {
    SCOPED_TRACE(name);
    expect_refused(shell(other.path(), std::string("cat ") + name).output, "");
  }
}

TEST_F(HostileStream, ADestinationThatIsNotEmptyIsRefused) {
  const std::string sound = sound_stream();
  const UniqueFd to = scratch_.open("to");
  for (const char* content :
       {"touch to/x", "mkdir to/d", "mkdir to/lost+found; touch to/lost+found/x",
        "ln -s /tmp to/lost+found"}) {
    shell(scratch_.path(), std::string("rm -rf to/*; ") + content);
    MemorySource source(as_bytes(sound));
    auto received = receive_tree(to.get(), source);
    ASSERT_FALSE(received.ok()) << content;
    EXPECT_EQ(received.error().code, ErrorCode::kPreconditionFailed) << received.error().message;
  }
}

}  // namespace
}  // namespace transship::transfer
