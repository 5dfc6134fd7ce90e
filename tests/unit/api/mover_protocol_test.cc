#include "api/mover_protocol.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace transship::api {
namespace {

TaskRequest request() {
  TaskRequest out;
  out.migration_uid = "u";
  out.epoch = 3;
  out.pod_uid = "p";
  out.volumes = {{.name = "data", .node_path = "/pv/1"},
                 {.name = "cache", .empty_dir = true, .memory = true},
                 {.name = "layer.web", .kind = TreeKind::kLayer, .container = "web"}};
  out.containers = {{.name = "prepare", .id = "", .skip = true},
                    {.name = "web", .id = "c1", .layer = true, .memory = true}};
  out.source_pod_ip = "10.0.0.2";
  out.peer_host = "10.0.0.1";
  out.bandwidth_bytes_per_second = 5;
  out.discard = true;
  out.freeze_budget_milliseconds = 20'750;
  out.compression = "Zstd";
  out.pass = 2;
  out.max_rounds = 10;
  out.max_final_round_milliseconds = 700;
  return out;
}

TEST(TaskRequest, SurvivesTheWayThroughJson) {
  const auto parsed = parse_task_request(to_json_value(request()).dump());
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_TRUE(*parsed == request());
}

TEST(TaskRequest, WithoutAnIdentityIsRefused) {
  auto json = to_json_value(request());
  json.erase("epoch");
  EXPECT_EQ(parse_task_request(json.dump()).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(parse_task_request("{").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(parse_task_request("[]").error().code, ErrorCode::kInvalid);
}

TEST(TaskRequest, OfANumberThatIsNoIntegerIsRefused) {
  for (const char* number : {"1.5", "5e46", "-5e46", "\"1\"", "18446744073709551615", "null"}) {
    for (const char* field : {"deadlineSeconds", "maxRounds"}) {
      const auto parsed = parse_task_request(std::string(R"({"migrationUid":"u","epoch":1,")") +
                                             field + "\":" + number + "}");
      ASSERT_FALSE(parsed.ok()) << field << " " << number;
      EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
      EXPECT_NE(parsed.error().message.find(field), std::string::npos) << parsed.error().message;
    }
  }
}

TEST(MoverState, SurvivesTheWayThroughJson) {
  MoverState state;
  state.migration_uid = "u";
  state.role = MoverRole::kReceiver;
  state.epoch = 2;
  state.source_processes = SourceProcesses::kFrozen;
  TaskState task;
  task.phase = TaskPhase::kFailed;
  task.error_code = ErrorCode::kNoSpace;
  task.message = "write data/x: No space left on device";
  task.bandwidth_bytes_per_second = 5;
  task.volumes.push_back({"data", 10, 2, 5, 1, "sha256:a", "sha256:b", 7, 8, "ext4"});
  state.tasks[TaskKind::kReceive] = task;
  task.pass = 2;
  task.rounds = {{1000, 10, 30}, {100, 1, 3}};
  task.estimated_final_milliseconds = 4;
  state.tasks[TaskKind::kPreCopy] = task;
  TaskState trial;
  trial.frozen_milliseconds = 30;
  trial.dump_milliseconds = 20;
  state.tasks[TaskKind::kTrialDump] = trial;
  const auto parsed = parse_mover_state(to_json_value(state).dump());
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(to_json_value(*parsed), to_json_value(state));
  const TaskState& precopy = parsed->tasks.at(TaskKind::kPreCopy);
  EXPECT_EQ(precopy.pass, 2);
  ASSERT_EQ(precopy.rounds.size(), 2U);
  EXPECT_EQ(precopy.rounds[1].milliseconds, 3);
  EXPECT_EQ(precopy.estimated_final_milliseconds, 4);
  EXPECT_EQ(parsed->tasks.at(TaskKind::kTrialDump).frozen_milliseconds, 30);
  EXPECT_EQ(parsed->tasks.at(TaskKind::kTrialDump).dump_milliseconds, 20);
  EXPECT_EQ(parsed->tasks.at(TaskKind::kReceive).error_code, ErrorCode::kNoSpace);
  EXPECT_EQ(parsed->tasks.at(TaskKind::kReceive).bandwidth_bytes_per_second, 5);
}

TEST(MoverState, OfAnUnknownKindIsRefused) {
  MoverState state;
  state.migration_uid = "u";
  auto json = to_json_value(state);
  json["tasks"]["explode"] = {{"phase", "Running"}};
  EXPECT_FALSE(parse_mover_state(json.dump()).ok());
  json = to_json_value(state);
  json["role"] = "spectator";
  EXPECT_FALSE(parse_mover_state(json.dump()).ok());
}

TEST(Names, AreWhatCertificatesCarry) {
  EXPECT_EQ(mover_name("u", MoverRole::kSender, 4), "u.sender.4");
  EXPECT_EQ(controller_name("u"), "u.controller");
}

}  // namespace
}  // namespace transship::api
