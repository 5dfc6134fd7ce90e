#include "mover/placement.h"

#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <cstdlib>
#include <thread>

#include "mover/gate.h"
#include "tests/unit/mover/fake_node.h"

namespace transship::mover {
namespace {

constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";
constexpr const char* kPod = "bbbbbbbb-2222-4333-8444-555555555555";
constexpr const char* kOtherPod = "cccccccc-2222-4333-8444-555555555555";

class PlacementTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    source_ = node_.migration(kMigration) / "staging/cache";
    write_text(source_ / "one", "1");
    write_text(source_ / "dir/two", "2");
    ::chmod(source_.c_str(), 02750);
    ASSERT_EQ(::chown(source_.c_str(), 1000, 2000), 0);
    ::setxattr(source_.c_str(), "user.kept", "yes", 3, 0);
    const timespec times[2] = {{1700000000, 5}, {1700000000, 123456789}};
    ASSERT_EQ(::utimensat(AT_FDCWD, source_.c_str(), times, 0), 0);
    gate_ = node_.make_empty_dir(kPod, kGateVolume);
    target_ = node_.make_empty_dir(kPod, "cache");
  }
  void wait_at_the_gate() const { write_text(gate_ / kGateWaiting, ""); }
  [[nodiscard]] bool gate_is_open() const { return fs::exists(gate_ / kGateOpen); }

  Status place(const std::string& pod = kPod, const Deadline& deadline = kNoDeadline) {
    return place(pod, {cache_}, deadline);
  }
  Status place(const std::string& pod, const std::vector<api::MoverVolume>& volumes,
               const Deadline& deadline) {
    const Placement placement(node_.node(), kMigration, "placed.json");
    return placement.place(
        pod, volumes,
        [&](const api::MoverVolume& volume) -> Result<Placement::Source> {
          auto from = open_beneath(
              node_.node().raw_view(),
              "transship/" + std::string(kMigration) + "/staging/" + volume.name, false);
          if (!from) return from.error();
          return Placement::Source{std::move(from).value(), ""};
        },
        placement.gate_of(pod), deadline);
  }
  void expect_placed() const {
    EXPECT_EQ(read_text(target_ / "one"), "1");
    EXPECT_EQ(read_text(target_ / "dir/two"), "2");
    EXPECT_TRUE(fs::is_empty(source_));
    struct stat status {};
    ASSERT_EQ(::stat(target_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 02750U);
    EXPECT_EQ(status.st_uid, 1000U);
    EXPECT_EQ(status.st_gid, 2000U);
    EXPECT_EQ(status.st_mtim.tv_sec, 1700000000);
    EXPECT_EQ(status.st_mtim.tv_nsec, 123456789);
    char value[8] = {};
    EXPECT_EQ(::getxattr(target_.c_str(), "user.kept", value, sizeof value), 3);
  }

  template <typename... Commands>
  void set_flags(Commands... commands) const {
    for (const std::string& one : {std::string(commands)...})
      ASSERT_EQ(std::system(("cd " + source_.string() + " && chattr " + one).c_str()), 0);
  }
  void expect_flags() const {
    for (const auto& [name, flags] : {std::pair<const char*, const char*>{".", "i"},
                                      {"one", "i"},
                                      {"dir", "a"},
                                      {"dir/two", "a"}}) {
      const std::string path = (target_ / name).string();
      EXPECT_EQ(
          std::system(("lsattr -d " + path + " | cut -d ' ' -f 1 | grep -q " + flags).c_str()), 0)
          << name;
    }
    EXPECT_EQ(std::system(("chattr -R -ia " + target_.string()).c_str()), 0);
  }

  FakeNode node_;
  const api::MoverVolume cache_{
      .name = "cache", .empty_dir = true, .memory = false, .node_path = ""};
  fs::path source_;
  fs::path gate_;
  fs::path target_;
};

TEST_F(PlacementTest, MovesContentAndRootMetadataThenOpensTheGate) {
  wait_at_the_gate();
  ASSERT_OK(place());
  expect_placed();
  EXPECT_TRUE(gate_is_open());
  ASSERT_OK(place());  // again
  expect_placed();
}

TEST_F(PlacementTest, MovesNothingBeforeThePodWaits) {
  std::stop_source stop;
  std::jthread waits([&] {
    EXPECT_EQ(place(kPod, Deadline(stop.get_token(), std::chrono::milliseconds(0))).error().code,
              ErrorCode::kCancelled);
  });
  stop.request_stop();
  waits.join();
  EXPECT_TRUE(fs::is_empty(target_));
  EXPECT_FALSE(gate_is_open());
}

TEST_F(PlacementTest, WaitsForTheGate) {
  std::jthread placing([&] { ASSERT_OK(place()); });
  wait_at_the_gate();
  placing.join();
  expect_placed();
  EXPECT_TRUE(gate_is_open());
}

TEST_F(PlacementTest, AnInterruptedPlacementGoesOn) {
  wait_at_the_gate();
  // The file that is in the way stops it in the middle, with the gate shut.
  write_text(node_.migration(kMigration) / "staging/zzz/file", "z");
  const fs::path other = node_.make_empty_dir(kPod, "zzz");
  write_text(other / "file", "stranger");
  const api::MoverVolume zzz{.name = "zzz", .empty_dir = true, .memory = false, .node_path = ""};
  const Status refused = place(kPod, {cache_, zzz}, kNoDeadline);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_FALSE(gate_is_open());
  EXPECT_EQ(read_text(other / "file"), "stranger");
  fs::remove(other / "file");
  ASSERT_OK(place(kPod, {cache_, zzz}, kNoDeadline));
  expect_placed();
  EXPECT_EQ(read_text(other / "file"), "z");
  EXPECT_TRUE(gate_is_open());
}

TEST_F(PlacementTest, KilledBetweenTwoRenamesItGoesOnWithTheRest) {
  wait_at_the_gate();
  write_text(
      node_.migration(kMigration) / "placed.json",
      R"({"volumes":{"cache":{"podUid":")" + std::string(kPod) +
          R"(","stage":"placing","modifiedSeconds":1700000000,"modifiedNanoseconds":123456789}}})");
  fs::rename(source_ / "one", target_ / "one");
  ASSERT_OK(place());
  expect_placed();
  EXPECT_TRUE(gate_is_open());
}

TEST_F(PlacementTest, MovesWhatIsImmutableOrAppendOnlyAndItStaysSo) {
  wait_at_the_gate();
  set_flags("+a dir/two", "+i one", "+a dir", "+i .");
  ASSERT_OK(place());
  expect_placed();
  expect_flags();
}

TEST_F(PlacementTest, KilledAfterFlagsWereTakenOffItSetsThemAgain) {
  wait_at_the_gate();
  set_flags("+a dir/two", "+i one", "+a dir", "+i .");
  // What stands in the way stops it when some is moved, and no flag is set any more.
  write_text(target_ / "lost+found/x", "");
  fs::remove(target_ / "lost+found/x");
  fs::rename(target_ / "lost+found", target_ / "one");
  EXPECT_FALSE(place().ok());
  fs::remove(target_ / "one");
  ASSERT_OK(place());
  expect_placed();
  expect_flags();
}

TEST_F(PlacementTest, ContentMovedIntoOnePodIsNotTakenForAnother) {
  wait_at_the_gate();
  ASSERT_OK(place());
  const fs::path gate = node_.make_empty_dir(kOtherPod, kGateVolume);
  node_.make_empty_dir(kOtherPod, "cache");
  write_text(gate / kGateWaiting, "");
  const Status refused = place(kOtherPod);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_FALSE(fs::exists(gate / kGateOpen));
}

TEST_F(PlacementTest, AWrongMediumKeepsTheGateShut) {
  wait_at_the_gate();
  fs::remove(target_);
  node_.make_empty_dir(kPod, "cache", true);
  const Status refused = place();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_FALSE(gate_is_open());
  EXPECT_EQ(read_text(source_ / "one"), "1");
}

}  // namespace
}  // namespace transship::mover
