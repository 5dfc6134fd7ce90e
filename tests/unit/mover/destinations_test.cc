#include "mover/destinations.h"

#include <gtest/gtest.h>

#include "mover/migration_directory.h"
#include "tests/unit/mover/fake_node.h"

namespace transship::mover {
namespace {

constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";

class DestinationsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    fs::create_directories(volume_);
  }
  Destinations destinations() { return {node_.node(), kMigration}; }
  [[nodiscard]] api::MoverVolume data() const {
    return {.name = "data", .empty_dir = false, .memory = false, .node_path = volume_.string()};
  }
  const api::MoverVolume cache_{
      .name = "cache", .empty_dir = true, .memory = false, .node_path = ""};
  FakeNode node_;
  fs::path volume_ = node_.top() / "volume";
};

TEST_F(DestinationsTest, AnEmptyVolumeIsTakenAndEmptiedOnlyByItsMigration) {
  ASSERT_OK(destinations().prepare(data(), false, kNoDeadline));
  write_text(volume_ / "half", "half of an earlier try");
  ASSERT_OK(destinations().prepare(data(), false, kNoDeadline));
  EXPECT_TRUE(fs::is_empty(volume_));

  write_text(volume_ / "half", "x");
  const Destinations other(node_.node(), "99999999-2222-4333-8444-555555555555");
  const auto refused = other.prepare(data(), false, kNoDeadline);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_EQ(read_text(volume_ / "half"), "x");
}

TEST_F(DestinationsTest, AVolumeWithDataOfSomebodyElseIsNeverTouched) {
  write_text(volume_ / "precious", "x");
  EXPECT_FALSE(destinations().prepare(data(), false, kNoDeadline).ok());
  ASSERT_OK(destinations().release(/*discard=*/true, kNoDeadline));
  EXPECT_EQ(read_text(volume_ / "precious"), "x");
}

TEST_F(DestinationsTest, AnotherDirectoryUnderAnOwnedPathIsNotOurs) {
  ASSERT_OK(destinations().prepare(data(), false, kNoDeadline));
  fs::rename(volume_, node_.top() / "away");
  write_text(volume_ / "precious", "x");
  EXPECT_FALSE(destinations().prepare(data(), false, kNoDeadline).ok());
  ASSERT_OK(destinations().release(/*discard=*/true, kNoDeadline));
  EXPECT_EQ(read_text(volume_ / "precious"), "x");
}

TEST_F(DestinationsTest, AnEmptyDirIsStagedAfreshEachTime) {
  ASSERT_OK(destinations().prepare(cache_, false, kNoDeadline));
  const fs::path staged = node_.migration(kMigration) / "staging/cache";
  write_text(staged / "a/b", "x");
  EXPECT_FALSE(destinations().open_staged("cache").ok()) << "not complete yet";
  ASSERT_OK(destinations().complete("cache", "sha256:12"));
  EXPECT_EQ(*destinations().digest("cache"), "sha256:12");
  ASSERT_OK(destinations().open_staged("cache"));

  ASSERT_OK(destinations().prepare(cache_, false, kNoDeadline));
  EXPECT_TRUE(fs::is_empty(staged));
  EXPECT_FALSE(destinations().digest("cache").ok()) << "begun anew";
}

TEST_F(DestinationsTest, WhatAnEarlierTryWroteIsKeptOnDemandAndIncomplete) {
  for (const api::MoverVolume& volume : {data(), cache_}) {
    ASSERT_OK(destinations().prepare(volume, true, kNoDeadline));
    ASSERT_OK(destinations().complete(volume.name, "sha256:12"));
  }
  write_text(volume_ / "half", "x");
  write_text(node_.migration(kMigration) / "staging/cache/half", "x");
  for (const api::MoverVolume& volume : {data(), cache_}) {
    ASSERT_OK(destinations().prepare(volume, true, kNoDeadline));
    EXPECT_FALSE(destinations().digest(volume.name).ok()) << volume.name;
  }
  EXPECT_EQ(read_text(volume_ / "half"), "x");
  EXPECT_EQ(read_text(node_.migration(kMigration) / "staging/cache/half"), "x");
  // Of another migration nothing is.
  const Destinations other(node_.node(), "99999999-2222-4333-8444-555555555555");
  EXPECT_FALSE(other.prepare(data(), true, kNoDeadline).ok());
}

TEST_F(DestinationsTest, AMoverOfALaterEpochFindsWhatIsComplete) {
  ASSERT_OK(destinations().prepare(cache_, false, kNoDeadline));
  ASSERT_OK(destinations().complete("cache", "sha256:12"));
  auto node = node_.open();
  ASSERT_OK(node);
  EXPECT_EQ(*Destinations(*node, kMigration).digest("cache"), "sha256:12");
}

TEST_F(DestinationsTest, ReleaseTakesStagingAwayAndKeepsVolumesUnlessTheyAreDiscarded) {
  for (const bool discard : {false, true}) {
    fs::remove_all(volume_);
    fs::create_directories(volume_);
    ASSERT_OK(destinations().prepare(data(), false, kNoDeadline));
    ASSERT_OK(destinations().prepare(cache_, false, kNoDeadline));
    write_text(volume_ / "file", "x");
    for (int i = 0; i < 2; ++i) ASSERT_OK(destinations().release(discard, kNoDeadline));
    ASSERT_OK(remove_migration_directory(node_.node(), kMigration));
    EXPECT_EQ(fs::exists(volume_ / "file"), !discard);
    EXPECT_FALSE(fs::exists(node_.kubelet() / "transship"));
  }
}

TEST_F(DestinationsTest, ReleaseDeletesNothingThroughAMount) {
  ASSERT_OK(destinations().prepare(cache_, false, kNoDeadline));
  const fs::path precious = node_.top() / "precious";
  write_text(precious / "file", "x");
  const fs::path staged = node_.migration(kMigration) / "staging/cache";
  ASSERT_EQ(::mount(precious.c_str(), staged.c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(destinations().release(true, kNoDeadline).error().code, ErrorCode::kPreconditionFailed);
  EXPECT_EQ(read_text(precious / "file"), "x");
}

TEST_F(DestinationsTest, ADiscardStopsAtAMountInTheVolume) {
  ASSERT_OK(destinations().prepare(data(), false, kNoDeadline));
  const fs::path precious = node_.top() / "precious";
  write_text(precious / "file", "x");
  fs::create_directories(volume_ / "mounted");
  ASSERT_EQ(::mount(precious.c_str(), (volume_ / "mounted").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_FALSE(destinations().release(true, kNoDeadline).ok());
  EXPECT_EQ(read_text(precious / "file"), "x");
}

TEST_F(DestinationsTest, ARecordThatCannotBeReadAllowsNothing) {
  ASSERT_OK(destinations().prepare(data(), false, kNoDeadline));
  write_text(volume_ / "file", "x");
  write_text(node_.migration(kMigration) / "received.json", "{");
  EXPECT_EQ(destinations().prepare(data(), false, kNoDeadline).error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(destinations().release(true, kNoDeadline).ok());
  EXPECT_EQ(read_text(volume_ / "file"), "x");
}

}  // namespace
}  // namespace transship::mover
