#include "mover/pin.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <thread>

#include "mover/migration_directory.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"

namespace transship::mover {
namespace {

constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";
const std::string kPod = unique_pod_uid("aaaaaaaa");

api::MoverVolume empty_dir(const std::string& name, bool memory = false) {
  return {.name = name, .empty_dir = true, .memory = memory, .node_path = ""};
}

size_t mounts_at(const fs::path& path) {
  auto table = MountTable::read("/proc/self/mountinfo");
  EXPECT_TRUE(table.ok());
  return static_cast<size_t>(
      std::count_if(table->mounts().begin(), table->mounts().end(),
                    [&](const Mount& mount) { return mount.point == path.string(); }));
}

class PinTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    cache_ = node_.make_empty_dir(kPod, "cache");
    memory_ = node_.make_empty_dir(kPod, "memory", true);
    write_text(cache_ / "dir/file", "on disk");
    write_text(memory_ / "file", "in memory");
  }
  Pins pins() { return {node_.node(), kMigration}; }
  std::string pinned_text(const std::string& volume, const std::string& file) {
    auto directory = pins().open(volume);
    EXPECT_TRUE(directory.ok()) << directory.error().message;
    if (!directory) return "";
    return read_text("/proc/self/fd/" + std::to_string(directory->get()) + "/" + file);
  }

  FakeNode node_;
  const std::vector<api::MoverVolume> volumes_ = {empty_dir("cache"), empty_dir("memory", true)};
  fs::path cache_;
  fs::path memory_;
};

// What kubelet does to the emptyDirs of a pod that ended.
void tear_down(const fs::path& volume) {
  for (const auto& entry : fs::directory_iterator(volume)) fs::remove_all(entry);
  std::error_code refused;
  EXPECT_FALSE(fs::remove(volume, refused)) << "the mount point must hold the directory";
}

TEST_F(PinTest, KeepsDataWhenKubeletEmptiesTheVolumes) {
  ASSERT_OK(pins().pin(kPod, volumes_));
  tear_down(cache_);
  tear_down(memory_);
  EXPECT_EQ(pinned_text("cache", "dir/file"), "on disk");
  EXPECT_EQ(pinned_text("memory", "file"), "in memory");
  EXPECT_EQ(*pins().pinned_pod(), kPod);
  EXPECT_TRUE(*pins().in_place());
}

TEST_F(PinTest, TheCoverIsNoTmpfs) {
  ASSERT_OK(pins().pin(kPod, volumes_));
  auto table = MountTable::read("/proc/self/mountinfo");
  ASSERT_OK(table);
  for (const fs::path& path : {cache_, memory_}) {
    ASSERT_NE(table->at(path.string()), nullptr);
    EXPECT_NE(table->at(path.string())->file_system, "tmpfs");
    EXPECT_TRUE(fs::is_empty(path));
  }
}

TEST_F(PinTest, MayBeRepeatedAndPinsOnce) {
  for (int i = 0; i < 3; ++i) ASSERT_OK(pins().pin(kPod, volumes_));
  EXPECT_EQ(mounts_at(cache_), 1U);
  EXPECT_EQ(mounts_at(memory_), 2U);  // the tmpfs and its cover
  EXPECT_EQ(mounts_at(node_.migration(kMigration) / "pins/cache"), 1U);
  EXPECT_EQ(pinned_text("memory", "file"), "in memory");
}

TEST_F(PinTest, OutlivesTheMoversMountNamespace) {
  std::thread mover([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    auto node = node_.open();
    ASSERT_OK(node);
    ASSERT_OK(Pins(*node, kMigration).pin(kPod, volumes_));
  });
  mover.join();
  tear_down(cache_);
  tear_down(memory_);
  EXPECT_EQ(pinned_text("cache", "dir/file"), "on disk");
  EXPECT_EQ(pinned_text("memory", "file"), "in memory");
}

TEST_F(PinTest, SaysWhenItsMountsDoNotReachTheNode) {
  std::thread mover([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    auto node = node_.open();
    ASSERT_OK(node);
    const Status pinned = Pins(*node, kMigration).pin(kPod, volumes_);
    ASSERT_FALSE(pinned.ok());
    EXPECT_EQ(pinned.error().code, ErrorCode::kPreconditionFailed);
  });
  mover.join();
  EXPECT_EQ(read_text(cache_ / "dir/file"), "on disk");
}

// Every prefix of the steps that a killed mover may leave behind.
TEST_F(PinTest, GoesOnAfterAnyInterruption) {
  const fs::path home = node_.migration(kMigration);
  fs::create_directories(home / "pins/cache");
  ASSERT_OK(pins().pin(kPod, volumes_));
  ASSERT_EQ(::umount(memory_.c_str()), 0);  // pinned, not yet covered
  ASSERT_OK(pins().pin(kPod, volumes_));
  ASSERT_EQ(::umount(cache_.c_str()), 0);
  ASSERT_EQ(::umount((home / "pins/cache").c_str()), 0);  // nothing done yet
  ASSERT_OK(pins().pin(kPod, volumes_));
  ASSERT_EQ(::umount((home / "pins/memory").c_str()), 0);  // covered, no pin
  ASSERT_OK(pins().pin(kPod, volumes_));
  EXPECT_EQ(pinned_text("cache", "dir/file"), "on disk");
  EXPECT_EQ(pinned_text("memory", "file"), "in memory");
  EXPECT_TRUE(fs::is_empty(memory_));
}

TEST_F(PinTest, RefusesASecondPodAndAWrongMedium) {
  ASSERT_OK(pins().pin(kPod, {empty_dir("cache")}));
  EXPECT_EQ(pins().pin("bbbbbbbb", {empty_dir("cache")}).error().code, ErrorCode::kConflict);
  EXPECT_EQ(pins().pin(kPod, {empty_dir("cache"), empty_dir("memory", false)}).error().code,
            ErrorCode::kPreconditionFailed);
  EXPECT_EQ(pins().pin(kPod, {empty_dir("nothing")}).error().code, ErrorCode::kNotFound);
}

TEST_F(PinTest, ReleaseGivesTheVolumesBackAndLeavesNothing) {
  ASSERT_OK(pins().pin(kPod, volumes_));
  for (int i = 0; i < 2; ++i) ASSERT_OK(pins().release(false, kNoDeadline));
  ASSERT_OK(remove_migration_directory(node_.node(), kMigration));
  EXPECT_EQ(read_text(cache_ / "dir/file"), "on disk");
  EXPECT_EQ(read_text(memory_ / "file"), "in memory");
  EXPECT_EQ(mounts_at(cache_), 0U);
  EXPECT_EQ(mounts_at(memory_), 1U);
  EXPECT_FALSE(fs::exists(node_.kubelet() / "transship"));
}

TEST_F(PinTest, ReleaseDeletesNothingWhileAnythingIsStillMounted) {
  ASSERT_OK(pins().pin(kPod, volumes_));
  const fs::path left = node_.migration(kMigration) / "pins/other";
  fs::create_directories(left);
  ASSERT_EQ(::mount(cache_.c_str(), left.c_str(), nullptr, MS_BIND, nullptr), 0);
  const Status released = pins().release(true, kNoDeadline);
  ASSERT_FALSE(released.ok());
  EXPECT_EQ(released.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_EQ(read_text(cache_ / "dir/file"), "on disk");
  EXPECT_TRUE(fs::exists(left));
}

class KeepTest : public PinTest {
 protected:
  void SetUp() override {
    PinTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_OK(pins().pin(kPod, volumes_));
  }
  // The node boots anew: its mounts are gone, and kubelet cleans up after the deleted pod.
  void reboot() {
    auto table = MountTable::read("/proc/self/mountinfo");
    ASSERT_OK(table);
    const auto points = table->below((node_.kubelet() / "transship").string());
    for (const std::string& point : points) ::umount2(point.c_str(), MNT_DETACH);
    for (const fs::path& point : {cache_, memory_}) {
      while (::umount2(point.c_str(), MNT_DETACH) == 0) continue;
      fs::remove_all(point);
    }
  }
  void write_boot_id(const std::string& id) {
    const fs::path path = node_.migration(kMigration) / "pins.json";
    std::string record = read_text(path);
    const size_t at = record.find(node_.node().boot_id());
    ASSERT_NE(at, std::string::npos);
    write_text(path, record.replace(at, node_.node().boot_id().size(), id));
  }
  fs::path kept() { return node_.migration(kMigration) / "kept/cache"; }
};

TEST_F(KeepTest, DataOutliveAReboot) {
  for (int i = 0; i < 2; ++i) ASSERT_OK(pins().keep(kPod, volumes_));
  EXPECT_FALSE(fs::exists(cache_));
  EXPECT_EQ(mounts_at(kept()), 0U);
  EXPECT_EQ(mounts_at(node_.migration(kMigration) / "pins/cache"), 0U);
  EXPECT_EQ(pinned_text("memory", "file"), "in memory");
  reboot();
  EXPECT_EQ(read_text(kept() / "dir/file"), "on disk");
  EXPECT_EQ(pinned_text("cache", "dir/file"), "on disk");
  auto raw = pins().open_raw(kPod, "cache");
  ASSERT_OK(raw);
  ASSERT_EQ(::renameat(raw->get(), "dir", node_.node().raw_view(), "moved"), 0);
  EXPECT_EQ(read_text(node_.kubelet() / "moved/file"), "on disk");
}

TEST_F(KeepTest, AVolumeWhoseRootIsImmutableStaysSo) {
  const auto flag_of = [](const fs::path& path) {
    return std::system(("lsattr -d " + path.string() + " | cut -d ' ' -f 1 | grep -q i").c_str());
  };
  const fs::path pinned = node_.migration(kMigration) / "pins/cache";
  ASSERT_EQ(std::system(("chattr +i " + pinned.string()).c_str()), 0);
  ASSERT_OK(pins().keep(kPod, volumes_));
  EXPECT_EQ(flag_of(kept()), 0);
  EXPECT_EQ(read_text(kept() / "dir/file"), "on disk");
  // Killed after it took the flag off and renamed it.
  ASSERT_EQ(std::system(("chattr -i " + kept().string()).c_str()), 0);
  ASSERT_OK(pins().keep(kPod, volumes_));
  EXPECT_EQ(flag_of(kept()), 0);
  ASSERT_OK(pins().release(true, kNoDeadline));
}

TEST_F(KeepTest, IsNotNoticedByTheContainersThatStillRun) {
  const fs::path inside = node_.top() / "container";
  fs::create_directories(inside);
  ASSERT_OK(bind_apart((node_.migration(kMigration) / "pins/cache").string(), inside.string()));
  ASSERT_OK(pins().keep(kPod, volumes_));
  write_text(inside / "dir/late", "written while it ended");
  EXPECT_EQ(pinned_text("cache", "dir/late"), "written while it ended");
}

TEST_F(KeepTest, WorksFromAMoversMountNamespaceAndReachesTheNode) {
  std::thread mover([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    auto node = node_.open();
    ASSERT_OK(node);
    ASSERT_OK(Pins(*node, kMigration).keep(kPod, volumes_));
  });
  mover.join();
  EXPECT_EQ(read_text(kept() / "dir/file"), "on disk");
  EXPECT_EQ(mounts_at(kept()), 0U);
  EXPECT_EQ(mounts_at(cache_), 0U);
}

TEST_F(KeepTest, GoesOnAfterAnyInterruption) {
  ASSERT_OK(pins().keep(kPod, volumes_));
  // Renamed, the cover still on it, the pin still there.
  const fs::path home = node_.migration(kMigration);
  ASSERT_EQ(::mount(kept().c_str(), (home / "pins/cache").c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_OK(bind_apart((home / "covers/cache").string(), kept().string()));
  EXPECT_TRUE(fs::is_empty(kept()));
  EXPECT_EQ(pinned_text("cache", "dir/file"), "on disk");
  ASSERT_OK(pins().keep(kPod, volumes_));
  EXPECT_EQ(mounts_at(kept()), 0U);
  EXPECT_EQ(read_text(kept() / "dir/file"), "on disk");
}

TEST_F(KeepTest, KeepsNothingThatIsNotPinnedAnyMore) {
  reboot();
  EXPECT_EQ(pins().keep(kPod, volumes_).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(pins().open_raw(kPod, "cache").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(pins().keep("bbbbbbbb", volumes_).error().code, ErrorCode::kPreconditionFailed);
}

TEST_F(KeepTest, AMemoryVolumeIsKnownToBeLostByAReboot) {
  EXPECT_FALSE(*pins().lost_by_reboot("memory"));
  write_boot_id("another boot");
  EXPECT_FALSE(*pins().lost_by_reboot("memory")) << "its pin is there";
  reboot();
  EXPECT_TRUE(*pins().lost_by_reboot("memory"));
}

TEST_F(KeepTest, ReleaseNeverDeletesTheOnlyCopyUnlessTold) {
  ASSERT_OK(pins().keep(kPod, volumes_));
  const Status refused = pins().release(false, kNoDeadline);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_EQ(read_text(kept() / "dir/file"), "on disk");
  ASSERT_OK(pins().release(true, kNoDeadline));
  ASSERT_OK(remove_migration_directory(node_.node(), kMigration));
  EXPECT_FALSE(fs::exists(node_.kubelet() / "transship"));
}

TEST_F(PinTest, RefusesAVolumeThatAContainerHasWithMountPropagation) {
  FakePod pod("pod" + kPod);
  SKIP_WITHOUT(pod);
  const fs::path inside = node_.top() / "container";
  fs::create_directories(inside);
  // The bind is in the shared peer group of the kubelet root, as a container's rshared volume is.
  ASSERT_EQ(::mount(cache_.c_str(), inside.c_str(), nullptr, MS_BIND, nullptr), 0);
  pod.add_process();
  const Status pinned = pins().pin(kPod, {empty_dir("cache")});
  ASSERT_FALSE(pinned.ok());
  EXPECT_EQ(pinned.error().code, ErrorCode::kPreconditionFailed);
  ASSERT_EQ(::mount(nullptr, inside.c_str(), nullptr, MS_PRIVATE, nullptr), 0);
  ASSERT_OK(pins().pin(kPod, {empty_dir("cache")}));
  EXPECT_EQ(read_text(inside / "dir/file"), "on disk");
}

}  // namespace
}  // namespace transship::mover
