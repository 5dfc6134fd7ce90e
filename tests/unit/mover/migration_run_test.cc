// Whole runs of a sender and a receiver on two nodes of this machine, over loopback.
#include "tests/unit/mover/migration_run.h"

#include <gtest/gtest.h>

#include "tests/unit/transfer/cutting_proxy.h"
#include "tests/unit/transfer/judge.h"

namespace transship::mover {
namespace {

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

}  // namespace
}  // namespace transship::mover
