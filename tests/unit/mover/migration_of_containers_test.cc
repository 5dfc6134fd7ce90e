#include <gtest/gtest.h>
#include <sys/xattr.h>

#include "tests/unit/mover/fake_container.h"
#include "tests/unit/mover/migration_run.h"

namespace transship::mover {
namespace {

const std::string kLayerPod = unique_pod_uid("abababab");

// The memory is what a dump would have written.
TEST_F(MigrationRunTest, LayersMemoryAndSharedMemoryGoAlongAndAreClaimed) {
  const fs::path disk = old_.top() / "disk";
  fs::create_directories(disk);
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16m"), 0);
  FakeContainer container(disk);
  write_text(container.lower() / "gone", "in the image");
  write_text(container.lower() / "replaced/old", "in the image");
  if (!container.start()) GTEST_SKIP() << "no overlay mounts here";
  FakePod pod("pod" + kLayerPod);
  SKIP_WITHOUT(pod);
  pod.add(container.pid());
  fs::remove(container.root() / "gone");
  fs::remove_all(container.root() / "replaced");
  write_text(container.root() / "replaced/new", "by the container");
  write_text(container.root() / "dev/shm/segment", "shared");

  api::TaskRequest out = at_old(1);
  out.pod_uid = kLayerPod;
  out.containers = {{.name = "app", .id = "container", .layer = true, .memory = true}};
  out.volumes = {{.name = "layer.app", .kind = api::TreeKind::kLayer, .container = "app"},
                 {.name = "memory.app", .kind = api::TreeKind::kMemory, .container = "app"},
                 {.name = "shm.pod", .kind = api::TreeKind::kSharedMemory}};
  api::TaskRequest in = out;
  in.pod_uid = kNewPod;
  in.containers[0].id = "";
  auto source = sender(1);
  auto target = receiver(1);
  // Without what the nodes have to have for dumps.
  api::TaskRequest look = in;
  look.containers[0].memory = false;
  const api::TaskState space = target.run(TaskKind::kInspect, look);
  ASSERT_EQ(space.phase, TaskPhase::kSucceeded) << space.message;
  EXPECT_EQ(space.volumes[1].file_system, "tmpfs");
  look = out;
  look.containers[0].memory = false;
  const api::TaskState seen = source.run(TaskKind::kInspect, look);
  ASSERT_EQ(seen.phase, TaskPhase::kSucceeded) << seen.message;
  EXPECT_EQ(seen.volumes[0].bytes, 16);
  target.start(TaskKind::kReceive, in);
  api::TaskRequest rounds = out;
  rounds.pass = rounds.max_rounds = 1;
  const api::TaskState copied = source.run(TaskKind::kPreCopy, rounds);
  ASSERT_EQ(copied.phase, TaskPhase::kSucceeded) << copied.message;
  write_text(container.root() / "later", "since the round");
  write_text(old_.migration(kMigration) / "memory/memory.app/inventory.img", "image");
  const api::TaskState sent = source.run(TaskKind::kSend, out);
  expect_equal_digests(sent, target.finished(TaskKind::kReceive));

  const fs::path staged = new_.migration(kMigration) / "staging/layer.app";
  EXPECT_EQ(read_text(staged / "replaced/new"), "by the container");
  EXPECT_EQ(read_text(staged / "later"), "since the round");
  struct stat whiteout {};
  ASSERT_EQ(::lstat((staged / "gone").c_str(), &whiteout), 0);
  EXPECT_TRUE(S_ISCHR(whiteout.st_mode) && whiteout.st_rdev == 0);
  EXPECT_EQ(::getxattr((staged / "replaced").c_str(), "trusted.overlay.opaque", nullptr, 0), 1);
  const fs::path memory = new_.migration(kMigration) / "memory";
  EXPECT_EQ(read_text(memory / "memory.app/inventory.img"), "image");
  EXPECT_EQ(read_text(memory / "shm.pod/segment"), "shared");

  // The first pod that is made for it goes before anything of it has run.
  for (const std::string& pod_uid : {unique_pod_uid("dddddddd"), kNewPod}) {
    in.pod_uid = pod_uid;
    const api::TaskState claimed = target.run(TaskKind::kClaim, in);
    ASSERT_EQ(claimed.phase, TaskPhase::kSucceeded) << claimed.message;
  }
  auto claim = runtime::PodClaim::open(new_.claims(), kNewPod);
  ASSERT_OK(claim);
  auto read = claim->read();
  ASSERT_OK(read);
  EXPECT_EQ((*read)->containers, (std::vector<runtime::ClaimedContainer>{
                                     {"app", staged.string(), (memory / "memory.app").string()}}));
  EXPECT_EQ((*read)->shared_memory, (memory / "shm.pod").string());

  ASSERT_OK(claim->set_state("app", {runtime::RestoreState::kRunning, "", "id"}));
  const api::TaskState released = target.run(TaskKind::kRelease, in);
  ASSERT_EQ(released.phase, TaskPhase::kSucceeded) << released.message;
  EXPECT_EQ(source.run(TaskKind::kRelease, out).phase, TaskPhase::kSucceeded);
  EXPECT_FALSE(fs::exists(new_.kubelet() / "transship"));
  EXPECT_FALSE(fs::exists(old_.kubelet() / "transship"));
  EXPECT_FALSE(fs::exists(new_.claims() / kNewPod));
}

TEST_F(MigrationRunTest, AContainerThatWasStartedAnewSinceTheRoundsIsNotSentHalf) {
  const fs::path disk = old_.top() / "disk";
  fs::create_directories(disk);
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16m"), 0);
  FakeContainer container(disk);
  if (!container.start()) GTEST_SKIP() << "no overlay mounts here";
  FakePod pod("pod" + kLayerPod);
  SKIP_WITHOUT(pod);
  pod.add(container.pid());
  api::TaskRequest out = at_old(1);
  out.pod_uid = kLayerPod;
  out.containers = {{.name = "app", .id = "container", .layer = true}};
  out.volumes = {{.name = "layer.app", .kind = api::TreeKind::kLayer, .container = "app"}};
  api::TaskRequest in = out;
  in.pod_uid = kNewPod;
  auto source = sender(1);
  auto target = receiver(1);
  target.start(TaskKind::kReceive, in);
  api::TaskRequest rounds = out;
  rounds.pass = rounds.max_rounds = 1;
  const api::TaskState copied = source.run(TaskKind::kPreCopy, rounds);
  ASSERT_EQ(copied.phase, TaskPhase::kSucceeded) << copied.message;
  out.containers[0].id = "another";
  const api::TaskState sent = source.run(TaskKind::kSend, out);
  EXPECT_EQ(sent.error_code, ErrorCode::kConflict) << sent.message;
}

}  // namespace
}  // namespace transship::mover
