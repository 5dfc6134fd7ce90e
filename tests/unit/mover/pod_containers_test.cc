#include "mover/pod_containers.h"

#include <gtest/gtest.h>

#include "mover/mount_table.h"
#include "tests/unit/mover/fake_container.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"

namespace transship::mover {
namespace {

const std::string kPod = unique_pod_uid("cccccccc");
const api::MoverContainer kApp{.name = "app", .id = "container", .layer = true};

class PodContainersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    SKIP_WITHOUT(pod_);
    fs::create_directories(disk_);
    ASSERT_EQ(::mount("tmpfs", disk_.c_str(), "tmpfs", 0, "size=16m"), 0);
  }

  FakeNode node_;
  FakePod pod_{"pod" + kPod};
  const fs::path disk_ = node_.top() / "disk";
};

TEST_F(PodContainersTest, TheLayerIsTheUpperDirectoryOfTheContainersRoot) {
  FakeContainer container(disk_);
  if (!container.start()) GTEST_SKIP() << "no overlay mounts here";
  pod_.add(container.pid());
  pod_.add_process();
  write_text(container.root() / "written", "by the container");
  auto pod = PodContainers::find(node_.node(), kPod);
  ASSERT_OK(pod);
  auto first = pod->init_process(kApp);
  ASSERT_OK(first);
  EXPECT_EQ(*first, container.pid());
  auto layer = pod->open_layer(kApp);
  ASSERT_OK(layer);
  EXPECT_TRUE(fs::equivalent("/proc/self/fd/" + std::to_string(layer->get()), container.upper()));
  EXPECT_EQ(read_text(container.upper() / "written"), "by the container");
}

TEST_F(PodContainersTest, WithoutAnOverlayMountThereIsNoLayer) {
  FakeContainer container(disk_, /*overlay=*/false);
  ASSERT_TRUE(container.start());
  pod_.add(container.pid());
  auto pod = PodContainers::find(node_.node(), kPod);
  ASSERT_OK(pod);
  auto layer = pod->open_layer(kApp);
  ASSERT_FALSE(layer.ok());
  EXPECT_EQ(layer.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_NE(layer.error().message.find("overlay"), std::string::npos) << layer.error().message;
}

TEST_F(PodContainersTest, ThePodsSharedMemoryIsNeverTheNodes) {
  FakeContainer container(disk_, /*overlay=*/false);
  ASSERT_TRUE(container.start());
  pod_.add(container.pid());
  write_text(container.root() / "dev/shm/segment", "shared");
  auto pod = PodContainers::find(node_.node(), kPod);
  ASSERT_OK(pod);
  auto shared = pod->open_shared_memory();
  ASSERT_OK(shared);
  EXPECT_EQ(read_text("/proc/self/fd/" + std::to_string(shared->get()) + "/segment"), "shared");
}

TEST_F(PodContainersTest, SharedMemoryOfTheNodeIsRefused) {
  pod_.add_process();
  auto pod = PodContainers::find(node_.node(), kPod);
  ASSERT_OK(pod);
  auto shared = pod->open_shared_memory();
  ASSERT_FALSE(shared.ok());
  EXPECT_NE(shared.error().message.find("hostIPC"), std::string::npos) << shared.error().message;
}

TEST_F(PodContainersTest, AContainerThatIsNotThereIsNotFound) {
  pod_.add_process();
  auto pod = PodContainers::find(node_.node(), kPod);
  ASSERT_OK(pod);
  const api::MoverContainer other{.name = "app", .id = "another"};
  EXPECT_EQ(pod->open_layer(other).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(PodContainers::find(node_.node(), "absent").error().code, ErrorCode::kNotFound);
}

TEST(MountOptionTest, ValuesMayHoldWhatSeparatesThem) {
  const Mount mount{.root = "/",
                    .point = "/",
                    .file_system = "overlay",
                    .device = "0:1",
                    .options = "rw,lowerdir=/a:/b,upperdir=/with\\054comma\\040and\\134,userxattr",
                    .peers = ""};
  EXPECT_EQ(mount.option("upperdir"), "/with,comma and\\");
  EXPECT_EQ(mount.option("userxattr"), "");
  EXPECT_EQ(mount.option("work"), std::nullopt);
  EXPECT_EQ(mount.option("dir"), std::nullopt);
}

TEST(ResidentMemoryTest, CountsWhatIsOnNoDisk) {
  const std::vector<char> filled(32 << 20, 'x');
  const int64_t with = resident_memory("/proc", {::getpid()});
  EXPECT_GT(with, int64_t{32} << 20);
  EXPECT_LT(with, int64_t{4} << 30);
  EXPECT_EQ(resident_memory("/proc", {0}), 0);
  EXPECT_EQ(filled.back(), 'x');
}

TEST(FirstProcessTest, IsTheOneThatWasStartedFirst) {
  const fs::path proc =
      fs::temp_directory_path() / ("transship-proc-" + std::to_string(::getpid()));
  const auto stat = [&](int pid, const std::string& started) {
    std::string fields = " S";
    for (int i = 4; i < 22; ++i) fields += " 1";
    write_text(proc / std::to_string(pid) / "stat",
               std::to_string(pid) + " (a) name)" + fields + " " + started + " 9 9\n");
  };
  stat(30, "700");
  stat(40, "500");
  stat(50, "500");
  auto first = first_process(proc, {30, 40, 50, 60});
  fs::remove_all(proc);
  ASSERT_OK(first);
  EXPECT_EQ(*first, 40);
  EXPECT_EQ(first_process(proc, {30}).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace transship::mover
