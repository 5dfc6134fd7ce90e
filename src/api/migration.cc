#include "api/migration.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "api/integer.h"

namespace transship::api {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<VolumePlan, const char*>, 4> kPlans = {
    {{VolumePlan::kCopy, "Copy"},
     {VolumePlan::kBlank, "Blank"},
     {VolumePlan::kReattach, "Reattach"},
     {VolumePlan::kRecreate, "Recreate"}}};

// Text fields of a struct under their JSON names: read and written by the same table.
template <typename T>
using TextFields = std::vector<std::pair<const char*, std::string T::*>>;

const TextFields<VolumeStatus> kVolumeTexts = {
    {"kind", &VolumeStatus::kind},
    {"medium", &VolumeStatus::medium},
    {"container", &VolumeStatus::container},
    {"claimName", &VolumeStatus::claim_name},
    {"claimUID", &VolumeStatus::claim_uid},
    {"sourceVolumeName", &VolumeStatus::source_volume},
    {"targetVolumeName", &VolumeStatus::target_volume},
    {"sourceReclaimPolicy", &VolumeStatus::source_reclaim_policy},
    {"targetReclaimPolicy", &VolumeStatus::target_reclaim_policy},
    {"sourcePath", &VolumeStatus::source_path},
    {"targetPath", &VolumeStatus::target_path},
    {"digest", &VolumeStatus::digest},
    {"message", &VolumeStatus::message}};
const TextFields<PodPlace> kPlaceTexts = {{"nodeName", &PodPlace::node},
                                          {"podName", &PodPlace::pod_name},
                                          {"podUID", &PodPlace::pod_uid}};
const TextFields<Owner> kOwnerTexts = {
    {"ownerKind", &Owner::kind}, {"ownerName", &Owner::name}, {"ownerUID", &Owner::uid}};
const TextFields<MigrationStatus> kStatusTexts = {
    {"phase", &MigrationStatus::phase},
    {"startTime", &MigrationStatus::start_time},
    {"completionTime", &MigrationStatus::completion_time},
    {"sourceStopRequestedTime", &MigrationStatus::stop_requested_time},
    {"sourceStoppedTime", &MigrationStatus::stopped_time},
    {"committedTime", &MigrationStatus::committed_time},
    {"restoredTime", &MigrationStatus::restored_time}};
const TextFields<Condition> kConditionTexts = {
    {"type", &Condition::type},
    {"status", &Condition::status},
    {"reason", &Condition::reason},
    {"message", &Condition::message},
    {"lastTransitionTime", &Condition::last_transition_time}};
const TextFields<PreflightCheck> kPreflightTexts = {{"check", &PreflightCheck::check},
                                                    {"result", &PreflightCheck::result},
                                                    {"message", &PreflightCheck::message}};
const TextFields<ContainerStatus> kContainerTexts = {
    {"name", &ContainerStatus::name},
    {"containerID", &ContainerStatus::id},
    {"imageDigest", &ContainerStatus::image_digest},
    {"restore", &ContainerStatus::restore},
    {"message", &ContainerStatus::message}};
const TextFields<Rollback> kRollbackTexts = {
    {"reason", &Rollback::reason}, {"message", &Rollback::message}, {"time", &Rollback::time}};
const TextFields<Hold> kHoldTexts = {{"ownerUID", &Hold::owner_uid},
                                     {"podName", &Hold::pod_name},
                                     {"gateImage", &Hold::gate_image},
                                     {"gateImagePullPolicy", &Hold::gate_image_pull_policy},
                                     {"runtimeClassName", &Hold::runtime_class}};

template <typename T>
void read_texts(const json& in, const TextFields<T>& fields, T& out) {
  for (const auto& [name, member] : fields) out.*member = in.value(name, "");
}

template <typename T>
void write_texts(const T& in, const TextFields<T>& fields, json& out) {
  for (const auto& [name, member] : fields) {
    if (!(in.*member).empty()) out[name] = in.*member;
  }
}

json section(const json& in, const char* name) { return in.value(name, json::object()); }

MigrationSpec read_spec(const json& in) {
  MigrationSpec spec;
  const json& pod = in.at("podRef");
  spec.pod_name = pod.at("name").get<std::string>();
  spec.pod_uid = pod.value("uid", "");
  const json target = section(in, "target");
  spec.target_node = target.value("nodeName", "");
  spec.target_selector = target.value("nodeSelector", std::map<std::string, std::string>{});
  spec.target_storage_class = target.value("storageClassName", "");
  const json state = section(in, "state");
  spec.memory = state.value("memory", "Exclude") == "Include";
  spec.layer = spec.memory || state.value("containerLayer", "Exclude") == "Include";
  if (in.value("onRestoreFailure", "Fail") == "ColdStart")
    spec.on_restore_failure = RestoreFailure::kColdStart;
  const json volumes = section(state, "volumes");
  spec.include_volumes = volumes.value("include", std::vector<std::string>{});
  spec.exclude_volumes = volumes.value("exclude", std::vector<std::string>{});
  const json strategy = section(in, "strategy");
  spec.strategy = strategy.value("type", "PreCopy") == "StopAndCopy" ? StrategyType::kStopAndCopy
                                                                     : StrategyType::kPreCopy;
  spec.max_rounds = integer(strategy, "maxRounds", spec.max_rounds);
  if (strategy.contains("maxDowntimeSeconds"))
    spec.max_downtime_seconds = integer(strategy, "maxDowntimeSeconds", int64_t{0});
  if (strategy.value("onBudgetExceeded", "Proceed") == "Abort")
    spec.on_budget_exceeded = OverBudget::kAbort;
  spec.stop = strategy.value("stop", spec.layer ? "Freeze" : "Graceful") == "Freeze"
                  ? StopMode::kFreeze
                  : StopMode::kGraceful;
  const json transfer = section(in, "transfer");
  spec.mode = transfer.value("mode", "Direct") == "Archive" ? TransferMode::kArchive
                                                            : TransferMode::kDirect;
  spec.archive_claim = section(transfer, "archive").value("claimName", "");
  spec.compression = transfer.value("compression", spec.compression);
  spec.bandwidth_bytes_per_second = integer(transfer, "bandwidthLimitBytesPerSecond", int64_t{0});
  spec.source_retention_seconds = integer(in, "sourceRetentionSeconds", int64_t{0});
  spec.suspend = in.value("suspend", false);
  spec.cancel = in.value("cancel", false);
  spec.dry_run = in.value("dryRun", false);
  spec.trial_dump = section(in, "preflight").value("trialDump", false);
  spec.backoff_limit = integer(in, "backoffLimit", 0);
  if (in.contains("activeDeadlineSeconds")) {
    spec.active_deadline_seconds = integer(in, "activeDeadlineSeconds", int64_t{0});
  }
  if (in.contains("ttlSecondsAfterFinished")) {
    spec.ttl_seconds_after_finished = integer(in, "ttlSecondsAfterFinished", int64_t{0});
  }
  return spec;
}

VolumeStatus read_volume(const json& in) {
  VolumeStatus volume;
  volume.name = in.at("name").get<std::string>();
  read_texts(in, kVolumeTexts, volume);
  const std::string plan = in.value("plan", "Recreate");
  for (const auto& [value, text] : kPlans) {
    if (plan == text) volume.plan = value;
  }
  volume.ephemeral = in.value("ephemeral", false);
  volume.bytes = integer(in, "bytes", int64_t{0});
  volume.entries = integer(in, "entries", int64_t{0});
  volume.transferred_bytes = integer(in, "transferredBytes", int64_t{0});
  return volume;
}

json write_volume(const VolumeStatus& volume) {
  json out = {{"name", volume.name},
              {"bytes", volume.bytes},
              {"entries", volume.entries},
              {"transferredBytes", volume.transferred_bytes}};
  for (const auto& [value, text] : kPlans) {
    if (volume.plan == value) out["plan"] = text;
  }
  if (volume.ephemeral) out["ephemeral"] = true;
  write_texts(volume, kVolumeTexts, out);
  return out;
}

Progress read_progress(const json& in) {
  Progress progress;
  progress.percent = integer(in, "percent", 0);
  progress.transferred_bytes = integer(in, "transferredBytes", int64_t{0});
  progress.total_bytes = integer(in, "totalBytes", int64_t{0});
  progress.transferred_entries = integer(in, "transferredEntries", int64_t{0});
  progress.total_entries = integer(in, "totalEntries", int64_t{0});
  progress.bytes_per_second = integer(in, "bytesPerSecond", int64_t{0});
  return progress;
}

json write_progress(const Progress& progress) {
  return {
      {"percent", progress.percent},
      {"text", std::to_string(progress.percent) + "%"},
      {"transferredBytes", progress.transferred_bytes},
      {"totalBytes", progress.total_bytes},
      {"remainingBytes", std::max<int64_t>(0, progress.total_bytes - progress.transferred_bytes)},
      {"transferredEntries", progress.transferred_entries},
      {"totalEntries", progress.total_entries},
      {"bytesPerSecond", progress.bytes_per_second}};
}

Round read_round(const json& in) {
  return {integer(in, "bytes", int64_t{0}), integer(in, "entries", int64_t{0}),
          in.value("seconds", 0.0)};
}

json write_round(const Round& round) {
  return {{"bytes", round.bytes}, {"entries", round.entries}, {"seconds", round.seconds}};
}

TrialDump read_trial_dump(const json& in) {
  return {integer(in, "bytes", int64_t{0}), in.value("frozenSeconds", 0.0),
          in.value("dumpSeconds", 0.0)};
}

json write_trial_dump(const TrialDump& trial) {
  return {{"bytes", trial.bytes},
          {"frozenSeconds", trial.frozen_seconds},
          {"dumpSeconds", trial.dump_seconds}};
}

Hold read_hold(const json& in) {
  Hold hold;
  read_texts(in, kHoldTexts, hold);
  hold.labels = in.value("labels", std::map<std::string, std::string>{});
  hold.gate_guaranteed = in.value("gateGuaranteed", false);
  return hold;
}

json write_hold(const Hold& hold) {
  json out = json::object();
  write_texts(hold, kHoldTexts, out);
  if (!hold.labels.empty()) out["labels"] = hold.labels;
  if (hold.gate_guaranteed) out["gateGuaranteed"] = true;
  return out;
}

MigrationStatus read_status(const json& in) {
  MigrationStatus status;
  read_texts(in, kStatusTexts, status);
  status.observed_generation = integer(in, "observedGeneration", int64_t{0});
  for (const json& item : in.value("conditions", json::array())) {
    Condition condition;
    read_texts(item, kConditionTexts, condition);
    condition.observed_generation = integer(item, "observedGeneration", int64_t{0});
    status.conditions.push_back(std::move(condition));
  }
  read_texts(section(in, "source"), kPlaceTexts, status.source);
  read_texts(section(in, "source"), kOwnerTexts, status.owner);
  read_texts(section(in, "target"), kPlaceTexts, status.target);
  for (const json& item : in.value("volumes", json::array()))
    status.volumes.push_back(read_volume(item));
  for (const json& item : in.value("containers", json::array())) {
    read_texts(item, kContainerTexts, status.containers.emplace_back());
    status.containers.back().init = item.value("init", false);
  }
  status.progress = read_progress(section(in, "progress"));
  for (const json& item : in.value("rounds", json::array()))
    status.rounds.push_back(read_round(item));
  if (in.contains("estimatedDowntimeSeconds"))
    status.estimated_downtime_seconds = in["estimatedDowntimeSeconds"].get<double>();
  if (in.contains("trialDump")) status.trial_dump = read_trial_dump(in["trialDump"]);
  if (in.contains("downtimeSeconds")) status.downtime_seconds = in["downtimeSeconds"].get<double>();
  if (in.contains("totalSeconds")) status.total_seconds = in["totalSeconds"].get<double>();
  for (const json& item : in.value("phaseTransitionTimestamps", json::array())) {
    status.phase_times.emplace_back(item.value("phase", ""), item.value("time", ""));
  }
  for (const json& item : in.value("preflight", json::array())) {
    read_texts(item, kPreflightTexts, status.preflight.emplace_back());
  }
  status.epoch = integer(in, "epoch", 0);
  status.attempts = integer(in, "attempts", 0);
  if (in.contains("rollback"))
    read_texts(in["rollback"], kRollbackTexts, status.rollback.emplace());
  if (in.contains("hold")) status.hold = read_hold(in["hold"]);
  status.notes = in.value("internal", std::map<std::string, std::string>{});
  return status;
}

void write_lists(const MigrationStatus& status, json& out) {
  for (const Condition& condition : status.conditions) {
    json item = {{"observedGeneration", condition.observed_generation}, {"message", ""}};
    write_texts(condition, kConditionTexts, item);
    out["conditions"].push_back(std::move(item));
  }
  for (const VolumeStatus& volume : status.volumes) out["volumes"].push_back(write_volume(volume));
  for (const ContainerStatus& container : status.containers) {
    json item = json::object();
    write_texts(container, kContainerTexts, item);
    if (container.init) item["init"] = true;
    out["containers"].push_back(std::move(item));
  }
  for (const Round& round : status.rounds) out["rounds"].push_back(write_round(round));
  for (const auto& [phase, time] : status.phase_times) {
    out["phaseTransitionTimestamps"].push_back({{"phase", phase}, {"time", time}});
  }
  for (const PreflightCheck& check : status.preflight) {
    json item = {{"message", ""}};
    write_texts(check, kPreflightTexts, item);
    out["preflight"].push_back(std::move(item));
  }
}

}  // namespace

const Condition* MigrationStatus::find(std::string_view type) const {
  const auto found =
      std::find_if(conditions.begin(), conditions.end(),
                   [&](const Condition& condition) { return condition.type == type; });
  return found == conditions.end() ? nullptr : &*found;
}

bool MigrationStatus::is_true(std::string_view type) const {
  const Condition* condition = find(type);
  return condition != nullptr && condition->status == "True";
}

VolumeStatus* MigrationStatus::volume(std::string_view name) {
  const auto found = std::find_if(volumes.begin(), volumes.end(),
                                  [&](const VolumeStatus& volume) { return volume.name == name; });
  return found == volumes.end() ? nullptr : &*found;
}

ContainerStatus* MigrationStatus::container(std::string_view name) {
  const auto found =
      std::find_if(containers.begin(), containers.end(),
                   [&](const ContainerStatus& container) { return container.name == name; });
  return found == containers.end() ? nullptr : &*found;
}

Result<Migration> parse_migration(const json& object) {
  try {
    Migration migration;
    const json& metadata = object.at("metadata");
    migration.namespace_name = metadata.at("namespace").get<std::string>();
    migration.name = metadata.at("name").get<std::string>();
    migration.uid = metadata.at("uid").get<std::string>();
    migration.resource_version = metadata.value("resourceVersion", "");
    migration.creation_time = metadata.value("creationTimestamp", "");
    migration.generation = integer(metadata, "generation", int64_t{0});
    migration.deleting = metadata.contains("deletionTimestamp");
    migration.finalizers = metadata.value("finalizers", std::vector<std::string>{});
    migration.spec = read_spec(object.at("spec"));
    migration.status = read_status(section(object, "status"));
    return migration;
  } catch (const std::exception& problem) {
    return Error{ErrorCode::kInvalid, std::string("ContainerMigration: ") + problem.what()};
  }
}

json status_to_json(const MigrationStatus& status) {
  json out = {{"observedGeneration", status.observed_generation},
              {"epoch", status.epoch},
              {"attempts", status.attempts},
              {"progress", write_progress(status.progress)}};
  write_texts(status, kStatusTexts, out);
  json source = json::object();
  write_texts(status.source, kPlaceTexts, source);
  write_texts(status.owner, kOwnerTexts, source);
  if (!source.empty()) out["source"] = std::move(source);
  json target = json::object();
  write_texts(status.target, kPlaceTexts, target);
  if (!target.empty()) out["target"] = std::move(target);
  write_lists(status, out);
  if (status.estimated_downtime_seconds)
    out["estimatedDowntimeSeconds"] = *status.estimated_downtime_seconds;
  if (status.trial_dump) out["trialDump"] = write_trial_dump(*status.trial_dump);
  if (status.downtime_seconds) out["downtimeSeconds"] = *status.downtime_seconds;
  if (status.total_seconds) out["totalSeconds"] = *status.total_seconds;
  if (status.rollback) {
    out["rollback"] = json::object();
    write_texts(*status.rollback, kRollbackTexts, out["rollback"]);
  }
  if (status.hold) out["hold"] = write_hold(*status.hold);
  if (!status.notes.empty()) out["internal"] = status.notes;
  return out;
}

}  // namespace transship::api
