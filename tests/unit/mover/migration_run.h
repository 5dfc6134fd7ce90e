// A migration between two nodes by a mover of each role, for tests of their tasks from end to end.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "mover/gate.h"
#include "mover/receiver.h"
#include "mover/sender.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"
#include "tests/unit/mover/test_certificates.h"
#include "tests/unit/mover/test_client.h"

namespace transship::mover {

using api::MoverRole;
using api::TaskKind;
using api::TaskPhase;

inline constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";
inline const std::string kOldPod = unique_pod_uid("aaaaaaaa");
inline const std::string kNewPod = unique_pod_uid("bbbbbbbb");

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

}  // namespace transship::mover
