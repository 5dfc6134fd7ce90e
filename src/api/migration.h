// ContainerMigration, transship.dev/v1alpha1: the resource as values. The schema with the sentence
// for each field is crds/containermigrations.transship.dev.yaml; names here are the same in snake
// case.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/migration_status.h"
#include "base/result.h"

namespace transship::api {

enum class StopMode { kGraceful, kFreeze };
enum class StrategyType { kPreCopy, kStopAndCopy };
enum class RestoreFailure { kFail, kColdStart };
enum class OverBudget { kProceed, kAbort };
enum class TransferMode { kDirect, kArchive };

struct MigrationSpec {
  std::string pod_name;
  std::string pod_uid;  // empty: whichever pod has the name when the migration is validated
  std::string target_node;
  std::map<std::string, std::string> target_selector;
  std::string target_storage_class;
  std::vector<std::string> include_volumes;
  std::vector<std::string> exclude_volumes;
  bool layer = false;   // the containers' layers go along
  bool memory = false;  // and their memory
  RestoreFailure on_restore_failure = RestoreFailure::kFail;
  StrategyType strategy = StrategyType::kPreCopy;
  StopMode stop = StopMode::kGraceful;
  int max_rounds = 10;  // while the pod runs
  std::optional<int64_t> max_downtime_seconds;
  OverBudget on_budget_exceeded = OverBudget::kProceed;
  TransferMode mode = TransferMode::kDirect;
  std::string archive_claim;
  std::string compression = "Auto";        // "Auto", "None", "Zstd"
  int64_t bandwidth_bytes_per_second = 0;  // 0: no limit
  int64_t source_retention_seconds = 0;
  bool suspend = false;
  bool cancel = false;
  bool dry_run = false;
  bool trial_dump = false;  // the memory is dumped once beforehand, and thrown away
  int backoff_limit = 0;
  std::optional<int64_t> active_deadline_seconds;
  std::optional<int64_t> ttl_seconds_after_finished;
};

struct Migration {
  std::string namespace_name;
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string creation_time;
  int64_t generation = 0;
  bool deleting = false;
  std::vector<std::string> finalizers;
  MigrationSpec spec;
  MigrationStatus status;
};

// Reads an object of the API server. kInvalid names the field that is not as the schema has it.
Result<Migration> parse_migration(const nlohmann::json& object);

}  // namespace transship::api
