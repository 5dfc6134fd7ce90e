#include "mover/control_server.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "mover/service.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"
#include "tests/unit/mover/test_certificates.h"
#include "tests/unit/mover/test_client.h"

namespace transship::mover {
namespace {

using api::TaskKind;

constexpr const char* kMigration = "11111111-2222-4333-8444-555555555555";
const std::string kPod = unique_pod_uid("dddddddd");

class ControlServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    authority_.issue(tls("mover"), api::mover_name(kMigration, api::MoverRole::kSender, 2));
    authority_.issue(tls("controller"), api::controller_name(kMigration));
    const TaskBoard::Identity identity{kMigration, api::MoverRole::kSender, 2};
    service_ = std::make_unique<MoverService>(
        node_.node(), identity,
        std::map<TaskKind, TaskFunction>{
            {TaskKind::kThaw,
             [this](const auto&, const auto&, auto&) { return ++runs_, Status(); }},
            {TaskKind::kDump,
             [this](const auto&, const auto& deadline, auto&) -> Status {
               while (dumping_) TRANSSHIP_TRY(deadline.wait(std::chrono::milliseconds(1), "dump"));
               return {};
             }},
            {TaskKind::kPin, [](const auto&, const auto&, auto&) {
               return Status(Error{ErrorCode::kNotFound, "no such volume"});
             }}});
    auto server = ControlServer::start(
        {"127.0.0.1", port_, tls("mover").string(), api::controller_name(kMigration)},
        [this](const ControlRequest& request) { return service_->handle(request); });
    ASSERT_OK(server);
    server_ = std::move(server).value();
  }
  void TearDown() override {
    if (service_) service_->stop();
    server_.reset();
  }
  [[nodiscard]] fs::path tls(const std::string& whose) const { return node_.top() / "tls" / whose; }

  std::optional<TestReply> put(const std::string& kind, const api::TaskRequest& request) {
    return exchange(port_, tls("controller"), "PUT", "/v1/tasks/" + kind,
                    api::to_json_value(request).dump());
  }
  static api::TaskRequest request() {
    api::TaskRequest request;
    request.migration_uid = kMigration;
    request.epoch = 2;
    request.pod_uid = kPod;
    return request;
  }
  api::MoverState state() {
    auto reply = exchange(port_, tls("controller"), "GET", "/v1/state");
    EXPECT_TRUE(reply.has_value());
    auto state = api::parse_mover_state(reply ? reply->body : "");
    EXPECT_TRUE(state.ok()) << state.error().message;
    return state ? *state : api::MoverState{};
  }
  // Asks until the task is over, as the controller does.
  api::TaskState finished(TaskKind kind) {
    for (;;) {
      const auto tasks = state().tasks;
      const auto task = tasks.find(kind);
      if (task == tasks.end()) return {};
      if (task->second.phase != api::TaskPhase::kRunning) return task->second;
    }
  }

  FakeNode node_;
  TestAuthority authority_;
  const uint16_t port_ = free_port();
  std::atomic<int> runs_ = 0;
  std::atomic<bool> dumping_ = true;
  std::unique_ptr<MoverService> service_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, AnswersItsController) {
  const api::MoverState seen = state();
  EXPECT_EQ(seen.migration_uid, kMigration);
  EXPECT_EQ(seen.role, api::MoverRole::kSender);
  EXPECT_EQ(seen.epoch, 2);
  EXPECT_EQ(seen.node_name, "node-a");
  EXPECT_FALSE(seen.boot_id.empty());
  EXPECT_EQ(seen.source_processes, api::SourceProcesses::kUnknown);
  EXPECT_TRUE(seen.tasks.empty());
}

TEST_F(ControlServerTest, RefusesWhoeverIsNotItsController) {
  EXPECT_FALSE(exchange(port_, "", "GET", "/v1/state").has_value()) << "no certificate";

  authority_.issue(tls("peer"), api::mover_name(kMigration, api::MoverRole::kReceiver, 2));
  EXPECT_FALSE(exchange(port_, tls("peer"), "GET", "/v1/state").has_value()) << "another name";

  authority_.issue(tls("other"), api::controller_name("99999999-2222-4333-8444-555555555555"));
  EXPECT_FALSE(exchange(port_, tls("other"), "GET", "/v1/state").has_value())
      << "another migration";

  TestAuthority stranger;
  stranger.issue(tls("stranger"), api::controller_name(kMigration));
  EXPECT_FALSE(exchange(port_, tls("stranger"), "GET", "/v1/state").has_value()) << "another CA";

  EXPECT_FALSE(
      exchange(port_, tls("controller"), "GET", "/v1/state", "", TLS1_2_VERSION).has_value())
      << "an older TLS";
  EXPECT_TRUE(exchange(port_, tls("controller"), "GET", "/v1/state").has_value());
}

// CRIU thaws a container that it dumps, and holds its processes by itself meanwhile.
TEST_F(ControlServerTest, WhileADumpIsUnderWayThePodCountsAsFrozenAndNotLonger) {
  FakePod pod("pod" + kPod);
  SKIP_WITHOUT(pod);
  pod.add_process();
  EXPECT_EQ(put("dump", request())->status, 202);
  EXPECT_EQ(state().source_processes, api::SourceProcesses::kFrozen);
  dumping_ = false;
  EXPECT_EQ(finished(TaskKind::kDump).phase, api::TaskPhase::kSucceeded);
  EXPECT_EQ(state().source_processes, api::SourceProcesses::kRunning);
}

TEST_F(ControlServerTest, APutAgainStartsNothingAgain) {
  EXPECT_EQ(put("thaw", request())->status, 202);
  EXPECT_EQ(finished(TaskKind::kThaw).phase, api::TaskPhase::kSucceeded);
  EXPECT_EQ(put("thaw", request())->status, 200);
  EXPECT_EQ(runs_, 1);

  api::TaskRequest other = request();
  other.deadline_seconds = 5;
  EXPECT_EQ(put("thaw", other)->status, 409);
  EXPECT_EQ(runs_, 1);
}

TEST_F(ControlServerTest, AFailedTaskMayBeStartedAnewWithAnotherBody) {
  EXPECT_EQ(put("pin", request())->status, 202);
  const api::TaskState failed = finished(TaskKind::kPin);
  EXPECT_EQ(failed.phase, api::TaskPhase::kFailed);
  EXPECT_EQ(failed.error_code, ErrorCode::kNotFound);
  EXPECT_EQ(failed.message, "no such volume");
  api::TaskRequest other = request();
  other.deadline_seconds = 5;
  EXPECT_EQ(put("pin", other)->status, 202);
}

TEST_F(ControlServerTest, RefusesOtherMigrationsAndEpochs) {
  api::TaskRequest other = request();
  other.epoch = 1;
  EXPECT_EQ(put("thaw", other)->status, 403);
  other = request();
  other.migration_uid = "99999999-2222-4333-8444-555555555555";
  EXPECT_EQ(put("thaw", other)->status, 403);
  EXPECT_EQ(runs_, 0);
}

TEST_F(ControlServerTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(put("nothing", request())->status, 404);
  EXPECT_EQ(put("receive", request())->status, 400) << "not a sender's task";
  EXPECT_EQ(exchange(port_, tls("controller"), "PUT", "/v1/tasks/thaw", "{")->status, 400);
  EXPECT_EQ(exchange(port_, tls("controller"), "GET", "/v2")->status, 404);
  EXPECT_EQ(exchange(port_, tls("controller"), "POST", "/v1/state")->status, 405);
  api::TaskRequest bad = request();
  bad.pod_uid = "../../etc";
  EXPECT_EQ(put("thaw", bad)->status, 400);
  bad = request();
  bad.volumes.push_back({.name = "../x", .empty_dir = true, .memory = false, .node_path = ""});
  EXPECT_EQ(put("thaw", bad)->status, 400);
  EXPECT_EQ(runs_, 0);
}

TEST_F(ControlServerTest, ABodyBeyondTheLimitIsRefused) {
  const auto reply =
      exchange(port_, tls("controller"), "PUT", "/v1/tasks/thaw", std::string(2U << 20U, ' '));
  // The server may close before it has read it all; whatever the client sees of it, nothing starts.
  EXPECT_EQ(reply ? reply->status : 413, 413);
  EXPECT_TRUE(state().tasks.empty());
}

TEST_F(ControlServerTest, TellsThatTheSourcePodIsDeadOnceItKnowsThePod) {
  put("pin", request());
  finished(TaskKind::kPin);
  EXPECT_EQ(state().source_processes, api::SourceProcesses::kNone);
}

}  // namespace
}  // namespace transship::mover
