#include "mover/restore_claim.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"

namespace transship::mover {
namespace {

using api::TreeKind;
using runtime::RestoreState;

constexpr const char* kMigration = "11111111-2222-4333-8444-888888888888";
const std::string kPod = unique_pod_uid("eeeeeeee");
const std::string kNextPod = unique_pod_uid("ffffffff");

class RestoreClaimTest : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT(node_); }

  static api::TaskRequest request() {
    api::TaskRequest request;
    request.migration_uid = kMigration;
    request.pod_uid = kPod;
    request.source_pod_ip = "10.1.2.3";
    request.volumes = {{.name = "layer.app", .kind = TreeKind::kLayer, .container = "app"},
                       {.name = "memory.app", .kind = TreeKind::kMemory, .container = "app"},
                       {.name = "layer.side", .kind = TreeKind::kLayer, .container = "side"},
                       {.name = "shm.pod", .kind = TreeKind::kSharedMemory}};
    request.containers = {{.name = "app", .layer = true, .memory = true},
                          {.name = "side", .layer = true},
                          {.name = "init", .skip = true}};
    return request;
  }
  [[nodiscard]] RestoreClaim claim() { return {node_.node(), kMigration}; }
  Status write(const api::TaskRequest& request) {
    return claim().write(request, [](const api::MoverVolume& tree) -> Result<std::string> {
      return "/received/" + tree.name;
    });
  }
  void set_state(const std::string& container, RestoreState state, const std::string& why = "") {
    auto pod = runtime::PodClaim::open(node_.claims(), kPod);
    ASSERT_OK(pod);
    ASSERT_OK(pod->set_state(container, {state, why, "id"}));
  }
  [[nodiscard]] std::string states() {
    auto restores = claim().restores();
    if (!restores) return restores.error().message;
    std::string all;
    for (const auto& restore : *restores)
      all += restore.container + ":" + restore.state + ":" + restore.message + " ";
    return all;
  }

  FakeNode node_;
};

TEST_F(RestoreClaimTest, SaysWhatIsRestoredFromWhere) {
  EXPECT_EQ(states(), "");
  for (int i = 0; i < 2; ++i) ASSERT_OK(write(request()));
  auto pod = runtime::PodClaim::open(node_.claims(), kPod);
  ASSERT_OK(pod);
  auto written = pod->read();
  ASSERT_OK(written);
  ASSERT_TRUE(written->has_value());
  const runtime::Claim expected{
      .migration_uid = kMigration,
      .containers = {{"app", "/received/layer.app", "/received/memory.app"},
                     {"side", "/received/layer.side", ""}},
      .skip = {"init"},
      .shared_memory = "/received/shm.pod",
      .old_address = "10.1.2.3"};
  EXPECT_EQ(**written, expected);
  EXPECT_EQ(states(), "app:Pending: side:Pending: ");
}

TEST_F(RestoreClaimTest, APodIsHeldInItsSandboxUntilItsEmptyDirsAreThere) {
  api::TaskRequest with = request();
  with.volumes.push_back({.name = "cache", .empty_dir = true});
  ASSERT_OK(write(with));
  const RestoreClaim under_test = claim();
  const Placement::Hold hold = under_test.sandbox_of(kPod);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(hold.wait(Deadline(stop.get_token(), std::chrono::milliseconds(0))).error().code,
            ErrorCode::kCancelled);
  std::jthread runtime([&] { write_text(node_.sandboxes() / kPod, "sandbox"); });
  ASSERT_OK(hold.wait(kNoDeadline));
  auto pod = runtime::PodClaim::open(node_.claims(), kPod);
  ASSERT_OK(pod);
  EXPECT_TRUE(pod->read()->value().awaits_volumes);
  EXPECT_FALSE(pod->volumes_are_placed().value());
  ASSERT_OK(hold.let_go());
  EXPECT_TRUE(pod->volumes_are_placed().value());
  // They are gone with that pod.
  with.pod_uid = kNextPod;
  EXPECT_EQ(write(with).error().code, ErrorCode::kPreconditionFailed);
}

TEST_F(RestoreClaimTest, IsGivenToAnotherPodAsLongAsNothingHasRun) {
  ASSERT_OK(write(request()));
  set_state("app", RestoreState::kRestored);
  api::TaskRequest next = request();
  next.pod_uid = kNextPod;
  for (int i = 0; i < 2; ++i) ASSERT_OK(write(next));
  EXPECT_EQ(claim().claimed_pod().value(), kNextPod);
  EXPECT_EQ(states(), "app:Pending: side:Pending: ");
  auto before = runtime::PodClaim::open(node_.claims(), kPod);
  ASSERT_OK(before);
  for (const char* container : {"app", "side"})
    EXPECT_EQ(before->state(container)->state, RestoreState::kFailed);
  ASSERT_OK(claim().release());
  EXPECT_FALSE(fs::exists(node_.claims() / kPod));
  EXPECT_FALSE(fs::exists(node_.claims() / kNextPod));
}

TEST_F(RestoreClaimTest, WhatHasRunOrMayHaveIsGivenToNoOtherPod) {
  ASSERT_OK(write(request()));
  api::TaskRequest next = request();
  next.pod_uid = kNextPod;
  for (const RestoreState state :
       {RestoreState::kRunning, RestoreState::kRestoring, RestoreState::kColdStart}) {
    set_state("side", state);
    EXPECT_EQ(write(next).error().code, ErrorCode::kPreconditionFailed);
    EXPECT_EQ(claim().claimed_pod().value(), kPod);
    EXPECT_FALSE(fs::exists(node_.claims() / kNextPod));
  }
}

TEST_F(RestoreClaimTest, WhatIsMissingIsNotClaimed) {
  api::TaskRequest without = request();
  without.volumes.erase(without.volumes.begin() + 1);
  EXPECT_EQ(write(without).error().code, ErrorCode::kInvalid);
  const Status incomplete = claim().write(request(), [](const auto&) -> Result<std::string> {
    return Error{ErrorCode::kPreconditionFailed, "not received"};
  });
  EXPECT_EQ(incomplete.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_FALSE(fs::exists(node_.claims() / kPod / "claim.json"));
}

TEST_F(RestoreClaimTest, WhatFailedStartsColdWhenToldSoAndTellsWhy) {
  ASSERT_OK(write(request()));
  set_state("app", RestoreState::kFailed, "no such address");
  set_state("side", RestoreState::kRunning);
  EXPECT_EQ(states(), "app:Failed:no such address side:Running: ");
  for (int i = 0; i < 2; ++i) ASSERT_OK(claim().cold_start(kPod));
  EXPECT_TRUE(states().starts_with("app:ColdStart:")) << states();
  EXPECT_EQ(claim().cold_start("another-pod").error().code, ErrorCode::kNotFound);
}

TEST_F(RestoreClaimTest, IsKeptUntilEveryContainerRuns) {
  FakePod pod("pod" + kPod);
  SKIP_WITHOUT(pod);
  pod.add_process();
  ASSERT_OK(write(request()));
  set_state("app", RestoreState::kRunning);
  for (const RestoreState state : {RestoreState::kPending, RestoreState::kRestored,
                                   RestoreState::kFailed, RestoreState::kColdStart}) {
    set_state("side", state);
    const Status kept = claim().release();
    ASSERT_FALSE(kept.ok());
    EXPECT_EQ(kept.error().code, ErrorCode::kPreconditionFailed);
    EXPECT_NE(kept.error().message.find("side"), std::string::npos);
  }
  set_state("side", RestoreState::kRunning);
  for (int i = 0; i < 2; ++i) ASSERT_OK(claim().release());
  EXPECT_FALSE(fs::exists(node_.claims() / kPod));
  EXPECT_EQ(states(), "");
}

TEST_F(RestoreClaimTest, OfAPodThatIsGoneItGoesInAnyState) {
  ASSERT_OK(write(request()));
  set_state("app", RestoreState::kFailed);
  ASSERT_OK(claim().release());
  EXPECT_FALSE(fs::exists(node_.claims() / kPod));
}

}  // namespace
}  // namespace transship::mover
