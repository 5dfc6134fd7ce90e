// What a receiver that means harm could say it has, and that nothing but an error comes of it.
#include <gtest/gtest.h>

#include <climits>
#include <random>

#include "transfer/held_frames.h"

namespace transship::transfer {
namespace {

class Script {
 public:
  Script() { root(); }
  explicit Script(std::nullptr_t) {}  // without a root
  Script& root(NodeId id = kRootNode, uint32_t mode = S_IFDIR | 0755) {
    Encoder(text).op(Op::kDirectory).number(id).metadata(node(mode));
    return *this;
  }
  Script& directory(NodeId id, NodeId parent, std::string_view name,
                    uint32_t mode = S_IFDIR | 0755) {
    Encoder(text).op(Op::kMakeDirectory).number(id).place(parent, name).metadata(node(mode));
    return *this;
  }
  Script& file(NodeId id, NodeId parent, std::string_view name, uint64_t size = 1,
               uint64_t block = 0, uint32_t mode = S_IFREG | 0644) {
    Encoder(text).op(Op::kNewFile).number(id).place(parent, name).metadata(node(mode));
    Encoder(text).number(size).digest({}).number(block);
    return *this;
  }
  Script& other(NodeId id, NodeId parent, std::string_view name, uint32_t mode) {
    Encoder(text).op(Op::kNewNode).number(id).place(parent, name).metadata(node(mode));
    return *this;
  }
  Script& link(NodeId id, NodeId parent, std::string_view name) {
    Encoder(text).op(Op::kLink).number(id).place(parent, name);
    return *this;
  }
  Script& extent(NodeId id, uint64_t offset, uint64_t length) {
    Encoder(text).op(Op::kExtent).number(id).number(offset).number(length);
    return *this;
  }
  Script& blocks(NodeId id, size_t bytes) {
    Encoder(text).op(Op::kBlocks).number(id).text(std::string(bytes, 'd'));
    return *this;
  }

  std::string text;

 private:
  static Node node(uint32_t mode) {
    Node node;
    node.mode = mode;
    if (S_ISLNK(mode)) node.more().link_target = "target";
    return node;
  }
};

Result<Inventory> read(const std::string& payload, const ReceiveLimits& limits = {}) {
  HeldReader reader(limits);
  TRANSSHIP_TRY(reader.take(payload));
  return reader.finish();
}

TEST(HostileHeld, OfOverlaysMarksOnlyOpaqueIsHeardAndOnlyOfAnUpperDirectory) {
  const auto heard = [](const char* name, XattrScope scope) {
    Node root;
    root.mode = S_IFDIR | 0755;
    const std::vector<Xattr> xattrs = {{name, "y"}};
    root.more().xattrs = xattrs;
    std::string text;
    Encoder(text).op(Op::kDirectory).number(kRootNode).metadata(root);
    return HeldReader({}, scope).take(text).ok();
  };
  EXPECT_TRUE(heard("trusted.overlay.opaque", XattrScope::kUpperDirectory));
  EXPECT_FALSE(heard("trusted.overlay.opaque", XattrScope::kVolume));
  EXPECT_FALSE(heard("trusted.overlay.redirect", XattrScope::kUpperDirectory));
}

void expect_refused(const Script& script, const ReceiveLimits& limits = {}) {
  const auto done = read(script.text, limits);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::kCorrupt) << done.error().message;
}

Script good() {
  Script script;
  script.directory(2, 0, "d").file(3, 2, "f").link(3, 0, "g").file(4, 2, "large", 10000, 4096);
  script.extent(4, 0, 4096).extent(4, 8192, 1808).blocks(4, 32).blocks(4, 16);
  return script.other(5, 0, "link", S_IFLNK | 0777).other(6, 2, "fifo", S_IFIFO | 0600);
}

TEST(HostileHeld, WhatIsInOrderIsTaken) {
  auto held = read(good().text);
  ASSERT_TRUE(held.ok()) << held.error().message;
  EXPECT_EQ(held->path(4), "./d/large");
  EXPECT_EQ(held->at(3).links, 2U);
  EXPECT_EQ(held->at(4).extra->blocks.digests.size(), 3U);
}

TEST(HostileHeld, AndIsWrittenAgainAsItWas) {
  auto held = read(good().text);
  ASSERT_TRUE(held.ok()) << held.error().message;
  std::string again;
  ASSERT_TRUE(write_held(*held, [&](std::string_view payload) {
                again += payload;
                return Status();
              }).ok());
  auto second = read(again);
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_EQ(second->summary().digest, held->summary().digest);
}

TEST(HostileHeld, NamesThatAreNoneAreRefused) {
  for (const std::string& name :
       {std::string(""), std::string("."), std::string(".."), std::string("a/b"),
        std::string("/etc"), std::string("a\0b", 3), std::string(NAME_MAX + 1, 'n')}) {
    SCOPED_TRACE(name);
    expect_refused(Script().directory(2, 0, name));
    expect_refused(Script().file(2, 0, name));
    expect_refused(Script().file(2, 0, "f").link(2, 0, name));
  }
}

TEST(HostileHeld, WhatIsNoTreeIsRefused) {
  expect_refused(Script(nullptr));
  expect_refused(Script(nullptr).file(2, 0, "f"));
  expect_refused(Script().root());
  expect_refused(Script(nullptr).root(2));
  expect_refused(Script(nullptr).root(0, S_IFREG | 0644));
  expect_refused(Script().directory(2, 2, "itself"));
  expect_refused(Script().directory(2, 3, "a").directory(3, 2, "b"));  // a cycle
  expect_refused(Script().directory(2, kTransitNode, "d"));
  expect_refused(Script().directory(2, 0, "d").directory(2, 0, "again"));
  expect_refused(Script().directory(2, 0, "d").link(2, 0, "twice"));
  expect_refused(Script().link(0, 0, "root"));
  expect_refused(Script().link(7, 0, "none"));
  expect_refused(Script().file(2, 0, "f").file(3, 2, "beneath a file"));
  expect_refused(Script().file(2, 0, "f").file(3, 0, "f"));
  expect_refused(Script().file(2, 0, "f").link(2, 0, "f"));
  expect_refused(Script().file(UINT32_MAX, 0, "f"));
  expect_refused(Script().file(9, 0, "f"));
  expect_refused(Script().directory(2, 0, "d", S_IFREG | 0644));
  expect_refused(Script().file(2, 0, "f", 1, 0, S_IFDIR | 0755));
  expect_refused(Script().other(2, 0, "f", S_IFREG | 0644));
  expect_refused(Script().other(2, 0, "f", 0644));
}

TEST(HostileHeld, BlocksThatAreNoneAreRefused) {
  expect_refused(Script().file(2, 0, "f", 5000, 1000).blocks(2, 80));
  expect_refused(Script().file(2, 0, "f", 5000, 5000).blocks(2, 16));
  expect_refused(Script().file(2, 0, "f", 5000, uint64_t{1} << 40U).blocks(2, 16));
  expect_refused(Script().file(2, 0, "f", 5000, 4096).blocks(2, 16));
  expect_refused(Script().file(2, 0, "f", 5000, 4096).blocks(2, 48));
  expect_refused(Script().file(2, 0, "f", 5000, 4096).blocks(2, 20));
  expect_refused(Script().file(2, 0, "f", 5000).blocks(2, 32));
  expect_refused(Script().file(2, 0, "f", 5000, 4096).file(3, 0, "g").blocks(2, 32));
  const auto extents = [](uint64_t offset, uint64_t length) {
    return Script()
        .file(2, 0, "f", 5000, 4096)
        .extent(2, 0, 10)
        .extent(2, offset, length)
        .blocks(2, 32);
  };
  EXPECT_TRUE(read(extents(10, 4990).text).ok());
  expect_refused(extents(5, 10));
  expect_refused(extents(10, 0));
  expect_refused(extents(10, 4991));
  expect_refused(extents(INT64_MAX, INT64_MAX));
  expect_refused(extents(6000, 1));
}

TEST(HostileHeld, BombsAreRefused) {
  ReceiveLimits limits;
  limits.bytes = 1000;
  limits.entries = 5;
  limits.held_bytes = 2000;
  expect_refused(Script().file(2, 0, "f", 1001), limits);
  expect_refused(Script().file(2, 0, "f", 600).file(3, 0, "g", 600), limits);
  expect_refused(Script().file(2, 0, "f", UINT64_MAX), limits);
  Script many;
  Script links = Script().file(2, 0, "f");
  for (NodeId id = 2; id < 8; ++id) {
    many.directory(id, 0, std::to_string(id));
    links.link(2, 0, std::to_string(id));
  }
  expect_refused(many, limits);
  expect_refused(links, limits);
  Script blocks = Script().file(2, 0, "f", 1000, 4096);
  for (int i = 0; i < 10; ++i) blocks.blocks(2, 320);
  expect_refused(blocks, limits);
  limits.entries = 1000;
  HeldReader reader(limits);
  Status taken = reader.take(Script().text);
  for (NodeId id = 2; id < 20 && taken.ok(); ++id)
    taken = reader.take(Script(nullptr).directory(id, 0, std::string(200, 'n') + char(id)).text);
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, ErrorCode::kCorrupt) << taken.error().message;
}

TEST(HostileHeld, DamagedFramesHarmNothing) {
  const std::string whole = good().text;
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  ReceiveLimits limits;
  limits.entries = 1000;
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = whole;
    if (i % 3 == 0) damaged.resize(random() % damaged.size());
    for (int k = 0; k < i % 4 && !damaged.empty(); ++k)
      damaged[random() % damaged.size()] ^= static_cast<char>(1U << random() % 8);
    const auto held = read(damaged, limits);
    if (held.ok()) {
      EXPECT_FALSE(held->summary().digest.empty());
    }
  }
}

}  // namespace
}  // namespace transship::transfer
