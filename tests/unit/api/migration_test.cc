#include "api/migration.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace transship::api {
namespace {

using nlohmann::json;

json object(json spec, json status = json::object()) {
  return {{"metadata",
           {{"name", "m"},
            {"namespace", "ns"},
            {"uid", "u"},
            {"generation", 3},
            {"finalizers", {"f"}}}},
          {"spec", std::move(spec)},
          {"status", std::move(status)}};
}

TEST(ParseMigration, ReadsTheSpecWithItsDefaults) {
  const auto parsed = parse_migration(object({{"podRef", {{"name", "db"}}}}));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->spec.pod_name, "db");
  EXPECT_EQ(parsed->spec.stop, StopMode::kGraceful);
  EXPECT_EQ(parsed->spec.mode, TransferMode::kDirect);
  EXPECT_FALSE(parsed->spec.active_deadline_seconds);
  EXPECT_EQ(parsed->generation, 3);
}

TEST(ParseMigration, SaysWhatIsWrong) {
  const auto parsed = parse_migration(object({{"podRef", {{"name", 7}}}}));
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
}

TEST(Status, SurvivesTheWayThroughJson) {
  MigrationStatus status;
  status.phase = "Transferring";
  status.start_time = "2026-11-24T03:04:46.000001Z";
  status.conditions.push_back(
      {"Validated", "True", "PreflightPassed", "5 checks", 2, "2026-11-24T03:04:46Z"});
  status.source = {"node-a", "db", "pod"};
  status.owner = {"StatefulSet", "db", "owner"};
  status.target.node = "node-b";
  VolumeStatus volume;
  volume.name = "data";
  volume.kind = "Local";
  volume.plan = VolumePlan::kBlank;
  volume.ephemeral = true;
  volume.claim_name = "data-db";
  volume.bytes = 42;
  status.volumes.push_back(volume);
  status.progress = {7, 3, 42, 1, 9, 1000};
  status.downtime_seconds = 1.25;
  status.phase_times = {{"Pending", "t"}};
  status.preflight = {{"Pod", "Passed", "running"}};
  status.epoch = 2;
  status.attempts = 1;
  status.rollback = Rollback{"Cancelled", "by spec.cancel", "t"};
  status.hold = Hold{"owner", "db-0", {{"app", "db"}}, "image", "Never", true};
  status.notes = {{"reserved", "true"}};
  const auto parsed =
      parse_migration(object({{"podRef", {{"name", "db"}}}}, status_to_json(status)));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(status_to_json(parsed->status), status_to_json(status));
  EXPECT_TRUE(parsed->status == status);
}

}  // namespace
}  // namespace transship::api
