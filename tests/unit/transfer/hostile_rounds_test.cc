// What a sender that means harm could say, and that nothing but an error comes of it.
#include <gtest/gtest.h>

#include <climits>
#include <cstring>
#include <functional>
#include <random>

#include "scratch.h"
#include "transfer/round_receiver.h"

namespace transship::transfer {
namespace {

Frame frame_of(FrameKind kind, const std::string& operations) {
  Frame frame;
  frame.kind = kind;
  frame.size = operations.size();
  frame.data = std::make_unique<char[]>(operations.size());
  std::memcpy(frame.data.get(), operations.data(), operations.size());
  return frame;
}

using Frames = std::vector<std::pair<FrameKind, std::string>>;

// Builds frames of operations.
class Script {
 public:
  Script& directory(NodeId id, NodeId parent, std::string_view name) {
    Encoder(start(FrameKind::kDirectories)).op(Op::kMakeDirectory).number(id).place(parent, name);
    return *this;
  }
  Script& names(Op op, NodeId id, NodeId parent, std::string_view name) {
    Encoder(start(FrameKind::kNames)).op(op).number(id).place(parent, name);
    return *this;
  }
  Script& link(NodeId id, NodeId parent, std::string_view name, NodeId there,
               std::string_view name_there) {
    Encoder(start(FrameKind::kNames))
        .op(Op::kLink)
        .number(id)
        .place(parent, name)
        .place(there, name_there);
    return *this;
  }
  Script& file(NodeId id, NodeId parent, std::string_view name, const std::string& content = "x",
               uint32_t mode = S_IFREG | 0644, Op op = Op::kNewFile) {
    Sha256 sha;
    sha.update(content);
    Encoder(start(FrameKind::kNodes)).op(op).number(id).place(parent, name);
    return metadata(mode).append([&](Encoder& out) { out.digest(sha.finish()).text(content); });
  }
  Script& node(NodeId id, NodeId parent, std::string_view name, uint32_t mode,
               const std::string& target = "") {
    Encoder(start(FrameKind::kNodes)).op(Op::kNewNode).number(id).place(parent, name);
    return metadata(mode, target);
  }
  Script& open(NodeId id, NodeId parent, std::string_view name, Opening opening, uint64_t size) {
    Encoder(start(FrameKind::kNodes))
        .op(Op::kOpenFile)
        .number(id)
        .place(parent, name)
        .number(static_cast<uint64_t>(opening))
        .number(size);
    return *this;
  }
  Script& piece(Op op, NodeId id, uint64_t offset, const std::string& content,
                uint64_t length = 0) {
    Encoder out(start(FrameKind::kNodes));
    out.op(op).number(id).number(offset);
    if (op == Op::kData) {
      out.text(content);
    } else {
      out.number(length);
    }
    return *this;
  }
  Script& close(NodeId id, uint64_t size) {
    Encoder(start(FrameKind::kNodes)).op(Op::kCloseFile).number(id);
    return metadata(S_IFREG | 0600).append([&](Encoder& out) { out.number(size).digest({}); });
  }
  Script& directory_metadata(NodeId id, uint32_t mode, const std::vector<Xattr>& xattrs = {}) {
    Encoder(start(FrameKind::kNodes)).op(Op::kDirectory).number(id);
    Node node = node_of(mode);
    node.more().xattrs = xattrs;
    return append([&](Encoder& out) { out.metadata(node); });
  }
  Script& raw(FrameKind kind, const std::string& bytes) {
    start(kind) += bytes;
    return *this;
  }
  [[nodiscard]] const Frames& frames() const { return frames_; }

 private:
  static Node node_of(uint32_t mode) {
    Node node;
    node.mode = mode;
    return node;
  }
  Script& metadata(uint32_t mode, const std::string& target = "") {
    Node node = node_of(mode);
    node.more().link_target = target;
    return append([&](Encoder& out) { out.metadata(node); });
  }
  Script& append(const std::function<void(Encoder&)>& write) {
    Encoder out(frames_.back().second);
    write(out);
    return *this;
  }
  std::string& start(FrameKind kind) {
    if (frames_.empty() || frames_.back().first != kind) frames_.push_back({kind, ""});
    return frames_.back().second;
  }
  Frames frames_;
};

class HostileRounds : public ::testing::Test {
 protected:
  Status play(const Script& script) { return play(script.frames()); }

  Status play(const Frames& frames) {
    to_ = scratch_.open("to");
    RoundReceiver receiver(to_.get(), {.until = {},
                                       .progress = nullptr,
                                       .limits = limits_,
                                       .projects = projects_,
                                       .xattrs = xattrs_});
    TRANSSHIP_TRY(receiver.begin());
    for (const auto& [kind, operations] : frames) {
      TRANSSHIP_TRY(receiver.take(frame_of(kind, operations)));
    }
    TRANSSHIP_TRY(receiver.end_round());
    return receiver.verify(/*whole=*/true);
  }

  void expect_refused(const Script& script) {
    const Status done = play(script);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().code, ErrorCode::kCorrupt) << done.error().message;
    reset();
  }

  void reset() {
    to_.reset();
    shell(scratch_.path(), "chattr -R -f -ia to; rm -rf to; mkdir to");
  }

  Scratch scratch_;
  UniqueFd to_;
  ReceiveLimits limits_;
  bool projects_ = true;
  XattrScope xattrs_ = XattrScope::kVolume;
};

TEST_F(HostileRounds, WhatIsInOrderIsTaken) {
  Script script;
  script.directory(2, 0, "d").file(3, 2, "f").open(4, 0, "large", Opening::kNew, 10);
  script.piece(Op::kData, 4, 0, "0123456789");
  Sha256 sha;
  sha.update("0123456789");
  Frames frames = script.frames();
  Node node;
  node.mode = S_IFREG | 0600;
  Encoder(frames.back().second)
      .op(Op::kCloseFile)
      .number(4)
      .metadata(node)
      .number(10)
      .digest(sha.finish());
  const Status done = play(frames);
  EXPECT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(shell(scratch_.path("to"), "cat d/f large").output, "x0123456789");
}

TEST_F(HostileRounds, NamesThatAreNoneAreRefused) {
  const std::string nul("a\0b", 3);
  for (const std::string& name :
       {std::string(""), std::string("."), std::string(".."), std::string("a/b"),
        std::string("/etc"), std::string("../x"), nul, std::string(NAME_MAX + 1, 'n')}) {
    SCOPED_TRACE(name);
    expect_refused(Script().directory(2, 0, name));
    expect_refused(Script().file(2, 0, name));
    expect_refused(Script().node(2, 0, name, S_IFIFO | 0600));
    expect_refused(Script().file(2, 0, "f").link(2, 0, name, 0, "f"));
    expect_refused(Script().file(2, 0, "f").names(Op::kUnlink, 2, 0, name));
  }
}

TEST_F(HostileRounds, FlagsAndProjectIdsThatCannotBeAreRefused) {
  const auto with = [](uint32_t mode, uint8_t flags, uint32_t project) {
    Node node;
    node.mode = mode;
    node.set_attributes({flags, project});
    return node;
  };
  const auto file = [&](const Node& node) {
    std::string bytes;
    Encoder(bytes).op(Op::kNewNode).number(2).place(0, "f").metadata(node);
    return Script().raw(FrameKind::kNodes, bytes);
  };
  const auto root = [&](const Node& node) {
    std::string bytes;
    Encoder(bytes).op(Op::kDirectory).number(0).metadata(node);
    return Script().raw(FrameKind::kNodes, bytes);
  };
  expect_refused(file(with(S_IFIFO | 0600, InodeAttributes::kDirSync, 0)));
  expect_refused(file(with(S_IFIFO | 0600, InodeAttributes::kProjectInherit, 0)));
  expect_refused(file(with(S_IFLNK | 0777, InodeAttributes::kNoDump, 0)));
  projects_ = false;
  expect_refused(root(with(S_IFDIR | 0700, 0, 7)));
  expect_refused(root(with(S_IFDIR | 0700, InodeAttributes::kProjectInherit, 0)));
  const Status done = play(root(with(S_IFDIR | 0700, InodeAttributes::kNoDump, 0)));
  EXPECT_TRUE(done.ok()) << done.error().message;
}

TEST_F(HostileRounds, PlacesThatAreNoneAreRefused) {
  expect_refused(Script().file(2, 7, "f"));             // a directory that never came
  expect_refused(Script().file(2, kTransitNode, "f"));  // the receiver's own
  expect_refused(Script().directory(2, UINT32_MAX, "d"));
  expect_refused(Script().file(2, 0, "f").file(3, 2, "f"));  // beneath a file
  expect_refused(Script().node(2, 0, "l", S_IFLNK | 0777, "/etc").file(3, 2, "passwd"));
  expect_refused(Script().file(2, 0, "f").names(Op::kUnlink, 2, 0, "g"));
  expect_refused(Script().file(2, 0, "f").file(3, 0, "g").names(Op::kUnlink, 2, 0, "g"));
  expect_refused(Script().file(2, 0, "f").link(2, 0, "g", 0, "h"));
  expect_refused(Script().file(2, 0, "f").link(2, 5, "g", 0, "f"));
}

TEST_F(HostileRounds, NodesThatCannotBeAreRefused) {
  expect_refused(Script().file(0, 0, "f"));
  expect_refused(Script().file(1, 0, "f"));
  expect_refused(Script().file(2, 0, "f").file(2, 0, "g"));  // one number for two
  expect_refused(Script().file(2, 0, "f").file(3, 0, "f"));  // one name for two
  expect_refused(Script().directory(2, 0, "d").directory(3, 0, "d"));
  expect_refused(Script().file(2, 0, "f", "x", S_IFDIR | 0755));
  expect_refused(Script().file(2, 0, "f", "x", S_IFLNK | 0755));
  expect_refused(Script().file(2, 0, "f", "x", 0644));
  expect_refused(Script().node(2, 0, "f", S_IFREG | 0644));
  expect_refused(Script().node(2, 0, "f", S_IFDIR | 0755));
  expect_refused(Script().node(2, 0, "l", S_IFLNK | 0777, ""));
  expect_refused(Script().node(2, 0, "l", S_IFLNK | 0777, std::string("a\0b", 3)));
  expect_refused(Script().file(2, 0, "f").file(2, 0, "f", "y", S_IFREG | 0600, Op::kFileContent));
  expect_refused(Script().directory(2, 0, "d").link(2, 0, "e", 0, "d"));
  expect_refused(Script().directory(2, 0, "d").names(Op::kUnlink, 2, 0, "d"));
  expect_refused(Script().file(2, 0, "f").names(Op::kRemoveDirectory, 2, 0, "f"));
  expect_refused(Script().directory_metadata(5, S_IFDIR | 0755));
  expect_refused(Script().directory_metadata(0, S_IFREG | 0755));
}

TEST_F(HostileRounds, OnlyCarriedAttributesAreSet) {
  for (const char* name : {"trusted.overlay.opaque", "security.selinux", "system.other", "plain"}) {
    SCOPED_TRACE(name);
    expect_refused(Script().directory_metadata(0, S_IFDIR | 0755, {{name, "y"}}));
  }
  expect_refused(
      Script().directory_metadata(0, S_IFDIR | 0755, {{"user.b", "1"}, {"user.a", "2"}}));
  expect_refused(
      Script().directory_metadata(0, S_IFDIR | 0755, {{"user.a", "1"}, {"user.a", "2"}}));
}

TEST_F(HostileRounds, OfOverlaysMarksOnlyOpaqueIsSetAndOnlyInAnUpperDirectory) {
  xattrs_ = XattrScope::kUpperDirectory;
  for (const char* name :
       {"trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin",
        "trusted.overlay.opaque.", "trusted.overlay.", "security.selinux"}) {
    SCOPED_TRACE(name);
    expect_refused(Script().directory_metadata(0, S_IFDIR | 0755, {{name, "y"}}));
  }
  const Status taken =
      play(Script().directory_metadata(0, S_IFDIR | 0755, {{"trusted.overlay.opaque", "y"}}));
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_EQ(shell(scratch_.path("to"), "getfattr -n trusted.overlay.opaque .").status, 0);
}

TEST_F(HostileRounds, MovesHaveAnEnd) {
  expect_refused(Script().directory(2, 0, "d").names(Op::kDetach, 2, 0, "d"));
  expect_refused(Script().names(Op::kAttach, 2, 0, "d"));
  expect_refused(
      Script().directory(2, 0, "d").names(Op::kDetach, 2, 0, "d").names(Op::kAttach, 2, 9, "d"));
  expect_refused(Script()
                     .file(2, 0, "f")
                     .file(3, 0, "g")
                     .names(Op::kDetach, 2, 0, "f")
                     .names(Op::kAttach, 2, 0, "g"));
  // Into itself: the kernel refuses.
  Script into_itself;
  into_itself.directory(2, 0, "d").directory(3, 2, "e").names(Op::kDetach, 2, 0, "d");
  into_itself.names(Op::kAttach, 2, 3, "d");
  EXPECT_FALSE(play(into_itself).ok());
}

TEST_F(HostileRounds, PiecesBelongToOneOpenFile) {
  expect_refused(Script().piece(Op::kData, 2, 0, "x"));
  expect_refused(Script().file(2, 0, "f").piece(Op::kData, 2, 0, "x"));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 1));  // without an end
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 1).close(2, 1).close(2, 1));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 1).piece(Op::kData, 2, 0, ""));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 1).piece(Op::kHole, 2, INT64_MAX, "", 9));
  expect_refused(Script().open(2, 0, "f", Opening::kAsItIs, 1));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 3).close(2, 3));  // another digest
}

TEST_F(HostileRounds, BombsAreRefusedBeforeTheyCost) {
  limits_.bytes = 1 << 20;
  limits_.entries = 5;
  expect_refused(Script().open(2, 0, "f", Opening::kNew, uint64_t{8} << 60U));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 2 << 20));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 9).piece(Op::kData, 2, 2 << 20, "x"));
  expect_refused(Script().open(2, 0, "f", Opening::kNew, 9).close(2, 2 << 20));
  expect_refused(
      Script().file(2, 0, "f", std::string(600000, 'x')).file(3, 0, "g", std::string(600000, 'x')));
  expect_refused(Script().file(4'000'000'000, 0, "f"));
  Script many;
  for (NodeId id = 2; id < 8; ++id) many.directory(id, 0, std::to_string(id));
  expect_refused(many);
}

// A stream of ten million directories, made as it goes, of which the limit lets some come.
TEST_F(HostileRounds, TenMillionEntriesCostNoMoreThanTheLimit) {
  constexpr NodeId kAll = 10'000'000;
  limits_.entries = 20'000;
  if (!scratch_.mount_tmpfs("size=200m")) GTEST_SKIP() << "no tmpfs of its own";
  to_ = scratch_.open("to");
  RoundReceiver receiver(to_.get(), {.until = {}, .progress = nullptr, .limits = limits_});
  ASSERT_TRUE(receiver.begin().ok());
  Status taken;
  for (NodeId id = kFirstNode; id < kAll && taken.ok();) {
    std::string operations;
    for (; id < kAll && operations.size() < (128 << 10); ++id)
      Encoder(operations).op(Op::kMakeDirectory).number(id).place(kRootNode, std::to_string(id));
    taken = receiver.take(frame_of(FrameKind::kDirectories, operations));
  }
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(taken.error().message.find("more entries than are allowed"), std::string::npos)
      << taken.error().message;
  EXPECT_LE(receiver.inventory().size(), limits_.entries + kFirstNode);
  EXPECT_LE(Spill::of_process().use().in_memory, size_t{32} << 20U);
}

// Nor do entries that go before the next ones come, and numbers out of order.
TEST_F(HostileRounds, ComingAndGoingHasAnEnd) {
  limits_.entries = 5;
  Script churn;
  for (NodeId id = 2; id < 200; ++id)
    churn.directory(id, 0, "d").names(Op::kRemoveDirectory, id, 0, "d");
  expect_refused(churn);
  Script links;
  links.file(2, 0, "f");
  for (int i = 0; i < 200; ++i) links.link(2, 0, "g", 0, "f").names(Op::kUnlink, 2, 0, "g");
  expect_refused(links);
  expect_refused(Script().directory(2, 0, "a").directory(9, 0, "b"));
  const Status spared = play(Script().directory(2, 0, "a").directory(7, 0, "b"));
  EXPECT_TRUE(spared.ok()) << spared.error().message;
}

TEST_F(HostileRounds, OperationsAreWrittenInOneWay) {
  expect_refused(Script().raw(FrameKind::kDirectories, std::string("d\x82\x00\x00\x01x", 6)));
  expect_refused(Script().raw(FrameKind::kNodes, std::string("q\x02\x00\x01x", 5)));
  expect_refused(Script().raw(FrameKind::kNames, std::string("d\x02\x00\x01x", 5)));
  expect_refused(Script().raw(FrameKind::kNodes, std::string(1, 'f') + std::string(20, '\xff')));
}

// Frames that were cut off, or of which some bits were turned.
TEST_F(HostileRounds, DamagedFramesHarmNothing) {
  Script script;
  script.directory(2, 0, "d").directory(3, 2, "e").file(4, 3, "f", std::string(300, 'x'));
  script.node(5, 0, "link", S_IFLNK | 0777, "../outside").node(6, 2, "fifo", S_IFIFO | 0600);
  script.link(4, 0, "hard", 3, "f").names(Op::kDetach, 2, 0, "d").names(Op::kAttach, 2, 0, "moved");
  script.open(7, 0, "large", Opening::kNew, 100).piece(Op::kData, 7, 50, std::string(50, 'y'));
  script.piece(Op::kHole, 7, 0, "", 10).directory_metadata(3, S_IFDIR | 0700, {{"user.a", "1"}});
  shell(scratch_.path(), "mkdir outside; echo safe >outside/file");
  limits_.bytes = 1 << 20;
  limits_.entries = 1000;
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 600; ++i) {
    Frames frames = script.frames();
    auto& [kind, operations] = frames[random() % frames.size()];
    if (i % 3 == 0) {
      operations.resize(random() % operations.size());
    } else {
      for (int k = 0; k < 1 + i % 4; ++k)
        operations[random() % operations.size()] ^= static_cast<char>(1U << random() % 8);
    }
    (void)play(frames);
    to_.reset();
    if (i % 20 == 0) reset();
    shell(scratch_.path("to"), "find . -mindepth 1 -delete");
  }
  EXPECT_EQ(shell(scratch_.path(), "ls; cat outside/*").output, "outside\nto\nsafe\n");
}

}  // namespace
}  // namespace transship::transfer
