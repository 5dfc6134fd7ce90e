// Whole runs of a sender and a receiver on two nodes of this machine, over loopback.
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "mover/gate.h"
#include "mover/receiver.h"
#include "mover/sender.h"
#include "tests/unit/mover/fake_container.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"
#include "tests/unit/mover/test_certificates.h"
#include "tests/unit/mover/test_client.h"
#include "tests/unit/transfer/cutting_proxy.h"
#include "tests/unit/transfer/judge.h"

namespace transship::mover {
namespace {

using api::MoverRole;
using api::TaskKind;
using api::TaskPhase;

constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";
const std::string kOldPod = unique_pod_uid("aaaaaaaa");
const std::string kNewPod = unique_pod_uid("bbbbbbbb");
const std::string kLayerPod = unique_pod_uid("abababab");

// One mover of either role: its view of the node, its tasks and their board.
template <typename Role>
class Mover {
 public:
  Mover(const FakeNode& fake, MoverRole role, TransferConfig config)
      : node_(fake.open()),
        role_(*node_, config),
        board_({kMigration, role, config.epoch}, role_.tasks()) {}

  TaskBoard& board() { return board_; }
  void start(TaskKind kind, const api::TaskRequest& request) {
    auto answer = board_.put(kind, request);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
  }
  api::TaskState finished(TaskKind kind) {
    for (;;) {
      api::TaskState state = board_.states().at(kind);
      if (state.phase != TaskPhase::kRunning) return state;
      std::this_thread::yield();
    }
  }
  api::TaskState run(TaskKind kind, const api::TaskRequest& request) {
    start(kind, request);
    return finished(kind);
  }

 private:
  Result<Node> node_;
  Role role_;
  TaskBoard board_;
};

class MigrationRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(old_);
    SKIP_WITHOUT(new_);
    SKIP_WITHOUT(pod_);
    for (const int epoch : {1, 2}) {
      for (const MoverRole role : {MoverRole::kSender, MoverRole::kReceiver}) {
        authority_.issue(tls(role, epoch), api::mover_name(kMigration, role, epoch));
      }
    }
    cache_ = old_.make_empty_dir(kOldPod, "cache");
    scratch_ = old_.make_empty_dir(kOldPod, "scratch", true);
    write_text(cache_ / "dir/file", "on disk");
    write_text(scratch_ / "file", "in memory");
    write_text(from_ / "database/table", std::string(1 << 20, 'x'));
    write_text(from_ / "second", "");
    fs::create_symlink("/etc/passwd", from_ / "link");
    fs::create_directories(to_);
    fs::create_directories(archive_);
    pod_.add_process();
  }
  [[nodiscard]] fs::path tls(MoverRole role, int epoch) const {
    return old_.top() / "tls" / (std::string(api::to_string(role)) + std::to_string(epoch));
  }
  TransferConfig config(MoverRole role, int epoch) {
    return {.migration_uid = kMigration,
            .epoch = epoch,
            .tls_directory = tls(role, epoch).string(),
            .archive_root = archive_.string(),
            .listen_address = "127.0.0.1",
            .data_port = port_};
  }
  Mover<Sender> sender(int epoch) {
    return {old_, MoverRole::kSender, config(MoverRole::kSender, epoch)};
  }
  Mover<Receiver> receiver(int epoch) {
    return {new_, MoverRole::kReceiver, config(MoverRole::kReceiver, epoch)};
  }
  api::TaskRequest request(int epoch, bool at_the_old_node, const std::string& pod_uid) {
    api::TaskRequest request;
    request.migration_uid = kMigration;
    request.epoch = epoch;
    request.pod_uid = pod_uid;
    request.peer_host = "127.0.0.1";
    request.compression = "None";  // tests count bytes
    const fs::path& data = at_the_old_node ? from_ : to_;
    request.volumes = {
        {.name = "data", .empty_dir = false, .memory = false, .node_path = data.string()},
        {.name = "cache", .empty_dir = true, .memory = false, .node_path = ""},
        {.name = "scratch", .empty_dir = true, .memory = true, .node_path = ""}};
    return request;
  }
  api::TaskRequest at_old(int epoch) { return request(epoch, true, kOldPod); }
  api::TaskRequest at_new(int epoch) { return request(epoch, false, kNewPod); }

  void make_new_pod(FakeNode& node) {
    node.make_empty_dir(kNewPod, "cache");
    node.make_empty_dir(kNewPod, "scratch", true);
    gate_ = node.make_empty_dir(kNewPod, kGateVolume);
    write_text(gate_ / kGateWaiting, "");
  }
  void expect_new_pod_has_everything(const FakeNode& node) const {
    const fs::path pod = node.kubelet() / empty_dir_path(kNewPod, "");
    EXPECT_EQ(read_text(pod / "cache/dir/file"), "on disk");
    EXPECT_EQ(read_text(pod / "scratch/file"), "in memory");
    EXPECT_TRUE(fs::exists(gate_ / kGateOpen));
  }
  // What is common to a direct run and one by archive; ends with everything received.
  static void expect_equal_digests(const api::TaskState& sent, const api::TaskState& received) {
    ASSERT_EQ(sent.phase, TaskPhase::kSucceeded) << sent.message;
    ASSERT_EQ(received.phase, TaskPhase::kSucceeded) << received.message;
    ASSERT_EQ(sent.volumes.size(), 3U);
    ASSERT_EQ(received.volumes.size(), 3U);
    std::set<std::string> digests;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(sent.volumes[i].digest.starts_with("sha256:"));
      EXPECT_EQ(sent.volumes[i].digest, received.volumes[i].verified_digest);
      EXPECT_EQ(sent.volumes[i].bytes, received.volumes[i].bytes_done);
      EXPECT_EQ(sent.volumes[i].entries, received.volumes[i].entries_done);
      digests.insert(sent.volumes[i].digest);
    }
    EXPECT_EQ(digests.size(), 3U);
  }

  FakeNode old_;
  FakeNode new_;
  FakePod pod_{"pod" + kOldPod};
  TestAuthority authority_;
  const uint16_t port_ = free_port();
  const fs::path from_ = old_.top() / "from";
  const fs::path to_ = new_.top() / "to";
  const fs::path archive_ = new_.top() / "archive";
  fs::path cache_;
  fs::path scratch_;
  fs::path gate_;
};

TEST_F(MigrationRunTest, InspectTellsSizesAndSpace) {
  auto source = sender(1);
  const api::TaskState seen = source.run(TaskKind::kInspect, at_old(1));
  ASSERT_EQ(seen.phase, TaskPhase::kSucceeded) << seen.message;
  ASSERT_EQ(seen.volumes.size(), 3U);
  EXPECT_EQ(seen.volumes[0].bytes, 1 << 20);
  EXPECT_EQ(seen.volumes[0].entries, 5);
  EXPECT_EQ(seen.volumes[2].file_system, "tmpfs");
  auto target = receiver(1);
  const api::TaskState space = target.run(TaskKind::kInspect, at_new(1));
  ASSERT_EQ(space.phase, TaskPhase::kSucceeded) << space.message;
  for (const api::VolumeReport& report : space.volumes) {
    EXPECT_GT(report.free_bytes, 0);
    EXPECT_GT(report.free_inodes, 0);
  }
}

TEST_F(MigrationRunTest, APodsVolumesArriveAndTheReceiverMayDieBeforeItPlacesThem) {
  auto source = sender(1);
  ASSERT_EQ(source.run(TaskKind::kFreeze, at_old(1)).phase, TaskPhase::kSucceeded);
  ASSERT_EQ(source.run(TaskKind::kPin, at_old(1)).phase, TaskPhase::kSucceeded);
  ASSERT_EQ(source.run(TaskKind::kKeep, at_old(1)).phase, TaskPhase::kSucceeded);
  ASSERT_EQ(source.run(TaskKind::kKill, at_old(1)).phase, TaskPhase::kSucceeded);
  {
    auto target = receiver(1);
    target.start(TaskKind::kReceive, at_new(1));
    const api::TaskState sent = source.run(TaskKind::kSend, at_old(1));
    expect_equal_digests(sent, target.finished(TaskKind::kReceive));
  }
  EXPECT_EQ(read_text(to_ / "database/table"), std::string(1 << 20, 'x'));
  EXPECT_EQ(fs::read_symlink(to_ / "link"), "/etc/passwd");

  make_new_pod(new_);
  auto target = receiver(2);
  const api::TaskState placed = target.run(TaskKind::kPlace, at_new(2));
  ASSERT_EQ(placed.phase, TaskPhase::kSucceeded) << placed.message;
  expect_new_pod_has_everything(new_);

  const api::TaskState released = target.run(TaskKind::kRelease, at_new(2));
  ASSERT_EQ(released.phase, TaskPhase::kSucceeded) << released.message;
  EXPECT_EQ(source.run(TaskKind::kRelease, at_old(1)).phase, TaskPhase::kFailed)
      << "what was kept is only removed on demand";
  api::TaskRequest discard = at_old(1);
  discard.discard = true;
  ASSERT_EQ(source.run(TaskKind::kRelease, discard).phase, TaskPhase::kSucceeded);
  EXPECT_FALSE(fs::exists(new_.kubelet() / "transship"));
  EXPECT_FALSE(fs::exists(old_.kubelet() / "transship"));
  EXPECT_TRUE(fs::exists(to_ / "second"));
  expect_new_pod_has_everything(new_);
}

TEST_F(MigrationRunTest, AReceiverOfALaterEpochGoesOnWhereOneWasStopped) {
  {
    auto target = receiver(1);
    target.start(TaskKind::kReceive, at_new(1));
    // The directories are ours from here on; what is in them is as after a kill in the middle.
    while (!fs::exists(new_.migration(kMigration) / "staging/scratch")) std::this_thread::yield();
  }
  write_text(to_ / "half", "of an earlier try");
  write_text(new_.migration(kMigration) / "staging/cache/half", "of an earlier try");
  fs::copy(from_ / "database", to_ / "database", fs::copy_options::recursive);
  const auto inode = [this] {
    struct stat status {};
    EXPECT_EQ(::stat((to_ / "database/table").c_str(), &status), 0);
    return status.st_ino;
  };
  const auto kept = inode();
  auto target = receiver(2);
  auto source = sender(2);
  target.start(TaskKind::kReceive, at_new(2));
  const api::TaskState sent = source.run(TaskKind::kSend, at_old(2));
  expect_equal_digests(sent, target.finished(TaskKind::kReceive));
  EXPECT_FALSE(fs::exists(to_ / "half"));
  EXPECT_EQ(inode(), kept);
  ASSERT_EQ(sent.rounds.size(), 1U);
  EXPECT_LT(sent.rounds[0].bytes, 1 << 20) << "the table was sent again";
}

// The session holds the volumes from before the pins to after the pod's end.
TEST_F(MigrationRunTest, WhatWasWrittenSinceTheRoundsComesAfterTheStop) {
  auto target = receiver(1);
  target.start(TaskKind::kReceive, at_new(1));
  auto source = sender(1);
  api::TaskRequest rounds = at_old(1);
  rounds.pass = 1;
  rounds.max_rounds = 3;
  const api::TaskState first = source.run(TaskKind::kPreCopy, rounds);
  ASSERT_EQ(first.phase, TaskPhase::kSucceeded) << first.message;
  write_text(cache_ / "between", "the passes");
  rounds.pass = 2;
  const api::TaskState second = source.run(TaskKind::kPreCopy, rounds);
  ASSERT_EQ(second.phase, TaskPhase::kSucceeded) << second.message;
  EXPECT_GT(second.rounds.size(), first.rounds.size());
  write_text(cache_ / "later", "on disk, too");
  write_text(scratch_ / "later", "in memory, too");
  for (const TaskKind kind : {TaskKind::kPin, TaskKind::kKeep, TaskKind::kKill}) {
    const api::TaskState done = source.run(kind, at_old(1));
    ASSERT_EQ(done.phase, TaskPhase::kSucceeded) << done.message;
  }
  const api::TaskState sent = source.run(TaskKind::kSend, at_old(1));
  expect_equal_digests(sent, target.finished(TaskKind::kReceive));
  EXPECT_EQ(sent.rounds.size(), second.rounds.size() + 1);
  const fs::path staged = new_.migration(kMigration) / "staging";
  EXPECT_EQ(read_text(staged / "cache/between"), "the passes");
  EXPECT_EQ(read_text(staged / "cache/later"), "on disk, too");
  EXPECT_EQ(read_text(staged / "scratch/later"), "in memory, too");
}

TEST_F(MigrationRunTest, ConnectionsThatBreakInARoundAndAtRestAreReplaced) {
  transfer::CuttingProxy proxy(port_, {{.from_client = 300'000}});
  TransferConfig through_it = config(MoverRole::kSender, 1);
  through_it.data_port = proxy.port;
  Mover<Sender> source(old_, MoverRole::kSender, through_it);
  auto target = receiver(1);
  target.start(TaskKind::kReceive, at_new(1));
  api::TaskRequest several = at_old(1);
  several.max_rounds = 2;
  const api::TaskState copied = source.run(TaskKind::kPreCopy, several);
  ASSERT_EQ(copied.phase, TaskPhase::kSucceeded) << copied.message;
  EXPECT_GT(copied.rounds.front().bytes, 1 << 20) << "what was sent in vain counts, too";
  const int before = proxy.connections();
  EXPECT_GE(before, 2);
  proxy.cut();
  proxy.wait_for_connections(before + 1);
  write_text(from_ / "later", "written since");
  const api::TaskState sent = source.run(TaskKind::kSend, at_old(1));
  expect_equal_digests(sent, target.finished(TaskKind::kReceive));
  EXPECT_EQ(sent.rounds.size(), copied.rounds.size() + 1);
  EXPECT_LT(sent.rounds.back().bytes, 1 << 20);
  EXPECT_EQ(transfer::differences(from_.string(), to_.string()), "");
}

TEST_F(MigrationRunTest, APeerOfAnotherEpochIsNotServed) {
  auto target = receiver(2);
  auto source = sender(1);
  target.start(TaskKind::kReceive, at_new(2));
  const api::TaskState sent = source.run(TaskKind::kSend, at_old(1));
  EXPECT_EQ(sent.phase, TaskPhase::kFailed);
  EXPECT_EQ(target.board().states().at(TaskKind::kReceive).phase, TaskPhase::kRunning);
  EXPECT_TRUE(fs::is_empty(to_));
}

TEST_F(MigrationRunTest, VolumesGoThroughAnArchive) {
  api::TaskRequest put = at_old(1);
  put.archive_directory = "default/migration";
  api::TaskRequest get = at_new(1);
  get.archive_directory = put.archive_directory;
  auto target = receiver(1);
  EXPECT_EQ(target.run(TaskKind::kReceive, get).phase, TaskPhase::kFailed) << "nothing there yet";
  auto source = sender(1);
  const api::TaskState sent = source.run(TaskKind::kSend, put);
  ASSERT_EQ(sent.phase, TaskPhase::kSucceeded) << sent.message;
  EXPECT_TRUE(fs::exists(archive_ / "default/migration/data.tar"));
  expect_equal_digests(sent, target.run(TaskKind::kReceive, get));
  put.archive_directory = "../out";
  auto other = sender(2);
  put.epoch = 2;
  EXPECT_EQ(other.run(TaskKind::kSend, put).phase, TaskPhase::kFailed);
  EXPECT_FALSE(fs::exists(archive_.parent_path() / "out"));
}

TEST_F(MigrationRunTest, ARollbackPlacesThePinnedVolumesIntoANewPodOfTheOldNode) {
  {
    auto source = sender(1);
    ASSERT_EQ(source.run(TaskKind::kPin, at_old(1)).phase, TaskPhase::kSucceeded);
  }
  make_new_pod(old_);
  auto source = sender(2);
  api::TaskRequest place = request(2, true, kNewPod);
  place.source_pod_uid = kOldPod;
  const api::TaskState placed = source.run(TaskKind::kPlace, place);
  ASSERT_EQ(placed.phase, TaskPhase::kSucceeded) << placed.message;
  expect_new_pod_has_everything(old_);
  ASSERT_EQ(source.run(TaskKind::kRelease, at_old(2)).phase, TaskPhase::kSucceeded);
  EXPECT_FALSE(fs::exists(old_.kubelet() / "transship"));
  expect_new_pod_has_everything(old_);
}

// The sender's node reboots while the pod is stopped; a tmpfs does not outlive that in any pod.
TEST_F(MigrationRunTest, ARollbackAfterARebootHasWhatWasKept) {
  {
    auto source = sender(1);
    ASSERT_EQ(source.run(TaskKind::kPin, at_old(1)).phase, TaskPhase::kSucceeded);
    const api::TaskState kept = source.run(TaskKind::kKeep, at_old(1));
    ASSERT_EQ(kept.phase, TaskPhase::kSucceeded) << kept.message;
  }
  const fs::path home = old_.migration(kMigration);
  for (const fs::path& point : {home / "pins/scratch", scratch_, scratch_}) {
    ASSERT_EQ(::umount2(point.c_str(), MNT_DETACH), 0) << point;
  }
  std::string record = read_text(home / "pins.json");
  const std::string boot_id = old_.node().boot_id();
  write_text(home / "pins.json", record.replace(record.find(boot_id), boot_id.size(), "before"));

  make_new_pod(old_);
  auto source = sender(2);
  api::TaskRequest place = request(2, true, kNewPod);
  place.source_pod_uid = kOldPod;
  const api::TaskState placed = source.run(TaskKind::kPlace, place);
  ASSERT_EQ(placed.phase, TaskPhase::kSucceeded) << placed.message;
  const fs::path pod = old_.kubelet() / empty_dir_path(kNewPod, "");
  EXPECT_EQ(read_text(pod / "cache/dir/file"), "on disk");
  EXPECT_TRUE(fs::is_empty(pod / "scratch"));
  ASSERT_EQ(source.run(TaskKind::kRelease, at_old(2)).phase, TaskPhase::kSucceeded);
  EXPECT_FALSE(fs::exists(old_.kubelet() / "transship"));
  EXPECT_EQ(read_text(pod / "cache/dir/file"), "on disk");
}

TEST_F(MigrationRunTest, NothingIsPlacedThatWasNotReceivedCompletely) {
  make_new_pod(new_);
  auto target = receiver(1);
  const api::TaskState placed = target.run(TaskKind::kPlace, at_new(1));
  EXPECT_EQ(placed.phase, TaskPhase::kFailed);
  EXPECT_EQ(placed.error_code, ErrorCode::kPreconditionFailed);
  EXPECT_FALSE(fs::exists(gate_ / kGateOpen));
}

TEST_F(MigrationRunTest, AReleaseBeforeTheCommitThawsThePodAndDiscardsWhatWasReceived) {
  auto source = sender(1);
  ASSERT_EQ(source.run(TaskKind::kFreeze, at_old(1)).phase, TaskPhase::kSucceeded);
  ASSERT_EQ(source.run(TaskKind::kPin, at_old(1)).phase, TaskPhase::kSucceeded);
  auto target = receiver(1);
  target.start(TaskKind::kReceive, at_new(1));
  ASSERT_EQ(source.run(TaskKind::kSend, at_old(1)).phase, TaskPhase::kSucceeded);
  target.finished(TaskKind::kReceive);
  api::TaskRequest discard = at_new(1);
  discard.discard = true;
  ASSERT_EQ(target.run(TaskKind::kRelease, discard).phase, TaskPhase::kSucceeded);
  ASSERT_EQ(source.run(TaskKind::kRelease, at_old(1)).phase, TaskPhase::kSucceeded);
  EXPECT_TRUE(fs::is_empty(to_));
  EXPECT_EQ(read_text(cache_ / "dir/file"), "on disk");
  EXPECT_EQ(read_text(scratch_ / "file"), "in memory");
  auto pod = PodCgroups::find("/sys/fs/cgroup", kOldPod);
  ASSERT_OK(pod);
  EXPECT_EQ(*pod->state(), api::SourceProcesses::kRunning);
}

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
