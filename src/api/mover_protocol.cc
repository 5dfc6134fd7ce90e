#include "api/mover_protocol.h"

#include <array>
#include <nlohmann/json.hpp>

#include "api/integer.h"

namespace transship::api {
namespace {

using nlohmann::json;

template <typename Enum>
struct Name {
  Enum value;
  std::string_view text;
};

constexpr auto kTaskKinds = std::to_array<Name<TaskKind>>({{TaskKind::kInspect, "inspect"},
                                                           {TaskKind::kFreeze, "freeze"},
                                                           {TaskKind::kSeal, "seal"},
                                                           {TaskKind::kThaw, "thaw"},
                                                           {TaskKind::kPin, "pin"},
                                                           {TaskKind::kKeep, "keep"},
                                                           {TaskKind::kKill, "kill"},
                                                           {TaskKind::kDump, "dump"},
                                                           {TaskKind::kTrialDump, "trialdump"},
                                                           {TaskKind::kPreCopy, "precopy"},
                                                           {TaskKind::kSend, "send"},
                                                           {TaskKind::kReceive, "receive"},
                                                           {TaskKind::kClaim, "claim"},
                                                           {TaskKind::kPlace, "place"},
                                                           {TaskKind::kColdStart, "coldstart"},
                                                           {TaskKind::kRelease, "release"}});
constexpr std::array<Name<TreeKind>, 4> kTreeKinds = {{{TreeKind::kVolume, "Volume"},
                                                       {TreeKind::kLayer, "Layer"},
                                                       {TreeKind::kMemory, "Memory"},
                                                       {TreeKind::kSharedMemory, "SharedMemory"}}};
constexpr std::array<Name<TaskPhase>, 3> kTaskPhases = {{{TaskPhase::kRunning, "Running"},
                                                         {TaskPhase::kSucceeded, "Succeeded"},
                                                         {TaskPhase::kFailed, "Failed"}}};
constexpr std::array<Name<SourceProcesses>, 4> kSourceProcesses = {
    {{SourceProcesses::kUnknown, "Unknown"},
     {SourceProcesses::kRunning, "Running"},
     {SourceProcesses::kFrozen, "Frozen"},
     {SourceProcesses::kNone, "None"}}};
constexpr std::array<Name<MoverRole>, 2> kRoles = {
    {{MoverRole::kSender, "sender"}, {MoverRole::kReceiver, "receiver"}}};
constexpr int kLastErrorCode = static_cast<int>(ErrorCode::kCorrupt);

template <typename Enum, size_t N>
std::string_view name_of(const std::array<Name<Enum>, N>& names, Enum value) {
  for (const auto& name : names) {
    if (name.value == value) return name.text;
  }
  return "";
}

template <typename Enum, size_t N>
std::optional<Enum> value_of(const std::array<Name<Enum>, N>& names, std::string_view text) {
  for (const auto& name : names) {
    if (name.text == text) return name.value;
  }
  return std::nullopt;
}

// Thrown inside this file only: a field whose text is none of the known names.
struct UnknownName : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename Enum, size_t N>
Enum require(const std::array<Name<Enum>, N>& names, const json& object, const char* field) {
  const auto text = object.at(field).get<std::string>();
  if (const auto value = value_of(names, text)) return *value;
  throw UnknownName(std::string("field ") + field + ": unknown value \"" + text.substr(0, 64) +
                    '"');
}

ErrorCode error_code_of(std::string_view text) {
  for (int i = 0; i <= kLastErrorCode; ++i) {
    if (to_string(static_cast<ErrorCode>(i)) == text) return static_cast<ErrorCode>(i);
  }
  return ErrorCode::kInternal;
}

json report_to_json(const VolumeReport& report) {
  return {{"name", report.name},
          {"bytes", report.bytes},
          {"entries", report.entries},
          {"bytesDone", report.bytes_done},
          {"entriesDone", report.entries_done},
          {"digest", report.digest},
          {"verifiedDigest", report.verified_digest},
          {"freeBytes", report.free_bytes},
          {"freeInodes", report.free_inodes},
          {"fileSystem", report.file_system}};
}

VolumeReport report_from_json(const json& object) {
  VolumeReport report;
  report.name = object.at("name").get<std::string>();
  report.bytes = integer(object, "bytes", int64_t{0});
  report.entries = integer(object, "entries", int64_t{0});
  report.bytes_done = integer(object, "bytesDone", int64_t{0});
  report.entries_done = integer(object, "entriesDone", int64_t{0});
  report.digest = object.value("digest", "");
  report.verified_digest = object.value("verifiedDigest", "");
  report.free_bytes = integer(object, "freeBytes", int64_t{0});
  report.free_inodes = integer(object, "freeInodes", int64_t{0});
  report.file_system = object.value("fileSystem", "");
  return report;
}

TaskState task_state_from_json(const json& object) {
  TaskState state;
  state.phase = require(kTaskPhases, object, "phase");
  state.error_code = error_code_of(object.value("errorCode", ""));
  state.message = object.value("message", "");
  state.bandwidth_bytes_per_second = integer(object, "bandwidthBytesPerSecond", int64_t{0});
  state.started_unix_ms = integer(object, "startedUnixMs", int64_t{0});
  state.finished_unix_ms = integer(object, "finishedUnixMs", int64_t{0});
  for (const json& report : object.value("volumes", json::array())) {
    state.volumes.push_back(report_from_json(report));
  }
  state.pass = integer(object, "pass", 0);
  for (const json& round : object.value("rounds", json::array())) {
    state.rounds.push_back({integer(round, "bytes", int64_t{0}),
                            integer(round, "entries", int64_t{0}),
                            integer(round, "milliseconds", int64_t{0})});
  }
  state.estimated_final_milliseconds = integer(object, "estimatedFinalMilliseconds", int64_t{0});
  state.frozen_milliseconds = integer(object, "frozenMilliseconds", int64_t{0});
  state.dump_milliseconds = integer(object, "dumpMilliseconds", int64_t{0});
  return state;
}

// Runs `parse` over the parsed body; every exception of the JSON library becomes kInvalid here.
template <typename Parse>
auto parsed(std::string_view what, std::string_view body, Parse parse)
    -> Result<decltype(parse(json()))> {
  try {
    return parse(json::parse(body));
  } catch (const std::exception& problem) {
    return Error{ErrorCode::kInvalid, std::string(what) + ": " + problem.what()};
  }
}

}  // namespace

std::string_view to_string(MoverRole role) { return name_of(kRoles, role); }
std::string_view to_string(TaskKind kind) { return name_of(kTaskKinds, kind); }
std::string_view to_string(TreeKind kind) { return name_of(kTreeKinds, kind); }
std::optional<TaskKind> parse_task_kind(std::string_view text) {
  return value_of(kTaskKinds, text);
}

std::string mover_name(const std::string& migration_uid, MoverRole role, int epoch) {
  return migration_uid + "." + std::string(to_string(role)) + "." + std::to_string(epoch);
}

std::string controller_name(const std::string& migration_uid) {
  return migration_uid + ".controller";
}

void to_json(json& out, const MoverVolume& volume) {
  out = {{"name", volume.name},
         {"emptyDir", volume.empty_dir},
         {"memory", volume.memory},
         {"nodePath", volume.node_path}};
  if (volume.kind != TreeKind::kVolume) {
    out["kind"] = to_string(volume.kind);
    out["container"] = volume.container;
  }
}

void from_json(const json& in, MoverVolume& volume) {
  volume.name = in.at("name").get<std::string>();
  volume.empty_dir = in.value("emptyDir", false);
  volume.memory = in.value("memory", false);
  volume.node_path = in.value("nodePath", "");
  if (in.contains("kind")) volume.kind = require(kTreeKinds, in, "kind");
  volume.container = in.value("container", "");
}

void to_json(json& out, const MoverContainer& container) {
  out = {{"name", container.name},
         {"id", container.id},
         {"layer", container.layer},
         {"memory", container.memory},
         {"skip", container.skip}};
}

void from_json(const json& in, MoverContainer& container) {
  container.name = in.at("name").get<std::string>();
  container.id = in.value("id", "");
  container.layer = in.value("layer", false);
  container.memory = in.value("memory", false);
  container.skip = in.value("skip", false);
}

void to_json(json& out, const ContainerRestore& restore) {
  out = {{"container", restore.container}, {"state", restore.state}, {"message", restore.message}};
}

void from_json(const json& in, ContainerRestore& restore) {
  restore.container = in.at("container").get<std::string>();
  restore.state = in.at("state").get<std::string>();
  restore.message = in.value("message", "");
}

json to_json_value(const TaskRequest& request) {
  return {{"migrationUid", request.migration_uid},
          {"epoch", request.epoch},
          {"podUid", request.pod_uid},
          {"sourcePodUid", request.source_pod_uid},
          {"volumes", request.volumes},
          {"containers", request.containers},
          {"sourcePodIp", request.source_pod_ip},
          {"peerHost", request.peer_host},
          {"archiveDirectory", request.archive_directory},
          {"bandwidthBytesPerSecond", request.bandwidth_bytes_per_second},
          {"compression", request.compression},
          {"deadlineSeconds", request.deadline_seconds},
          {"freezeBudgetMilliseconds", request.freeze_budget_milliseconds},
          {"discard", request.discard},
          {"pass", request.pass},
          {"maxRounds", request.max_rounds},
          {"maxFinalRoundMilliseconds", request.max_final_round_milliseconds}};
}

json to_json_value(const TaskState& state) {
  json out = {{"phase", name_of(kTaskPhases, state.phase)},
              {"bandwidthBytesPerSecond", state.bandwidth_bytes_per_second},
              {"startedUnixMs", state.started_unix_ms},
              {"finishedUnixMs", state.finished_unix_ms},
              {"volumes", json::array()}};
  if (state.pass > 0) out["pass"] = state.pass;
  if (state.frozen_milliseconds > 0) {
    out["frozenMilliseconds"] = state.frozen_milliseconds;
    out["dumpMilliseconds"] = state.dump_milliseconds;
  }
  if (state.phase == TaskPhase::kFailed) {
    out["errorCode"] = to_string(state.error_code);
    out["message"] = state.message;
  }
  for (const VolumeReport& report : state.volumes) out["volumes"].push_back(report_to_json(report));
  if (!state.rounds.empty()) {
    for (const RoundReport& round : state.rounds) {
      out["rounds"].push_back({{"bytes", round.bytes},
                               {"entries", round.entries},
                               {"milliseconds", round.milliseconds}});
    }
    out["estimatedFinalMilliseconds"] = state.estimated_final_milliseconds;
  }
  return out;
}

json to_json_value(const MoverState& state) {
  json tasks = json::object();
  for (const auto& [kind, task] : state.tasks)
    tasks[std::string(to_string(kind))] = to_json_value(task);
  return {{"migrationUid", state.migration_uid},
          {"role", to_string(state.role)},
          {"epoch", state.epoch},
          {"nodeName", state.node_name},
          {"bootId", state.boot_id},
          {"version", state.version},
          {"sourceProcesses", name_of(kSourceProcesses, state.source_processes)},
          {"claimedPod", state.claimed_pod},
          {"restores", state.restores},
          {"tasks", std::move(tasks)}};
}

Result<TaskRequest> parse_task_request(std::string_view body) {
  return parsed("task request", body, [](const json& in) {
    TaskRequest request;
    request.migration_uid = in.at("migrationUid").get<std::string>();
    request.epoch = required_integer(in, "epoch");
    request.pod_uid = in.value("podUid", "");
    request.source_pod_uid = in.value("sourcePodUid", "");
    request.volumes = in.value("volumes", std::vector<MoverVolume>{});
    request.containers = in.value("containers", std::vector<MoverContainer>{});
    request.source_pod_ip = in.value("sourcePodIp", "");
    request.peer_host = in.value("peerHost", "");
    request.archive_directory = in.value("archiveDirectory", "");
    request.bandwidth_bytes_per_second = integer(in, "bandwidthBytesPerSecond", int64_t{0});
    request.compression = in.value("compression", "");
    request.deadline_seconds = integer(in, "deadlineSeconds", int64_t{0});
    request.freeze_budget_milliseconds = integer(in, "freezeBudgetMilliseconds", int64_t{0});
    request.discard = in.value("discard", false);
    request.pass = integer(in, "pass", 0);
    request.max_rounds = integer(in, "maxRounds", 0);
    request.max_final_round_milliseconds = integer(in, "maxFinalRoundMilliseconds", int64_t{-1});
    return request;
  });
}

Result<TaskState> parse_task_state(std::string_view body) {
  return parsed("task state", body, [](const json& in) { return task_state_from_json(in); });
}

Result<MoverState> parse_mover_state(std::string_view body) {
  return parsed("mover state", body, [](const json& in) {
    MoverState state;
    state.migration_uid = in.at("migrationUid").get<std::string>();
    state.role = require(kRoles, in, "role");
    state.epoch = required_integer(in, "epoch");
    state.node_name = in.value("nodeName", "");
    state.boot_id = in.value("bootId", "");
    state.version = in.value("version", "");
    state.source_processes = require(kSourceProcesses, in, "sourceProcesses");
    state.claimed_pod = in.value("claimedPod", "");
    state.restores = in.value("restores", std::vector<ContainerRestore>{});
    for (const auto& [name, task] : in.at("tasks").items()) {
      const auto kind = parse_task_kind(name);
      if (!kind) throw UnknownName("field tasks: unknown task \"" + name.substr(0, 64) + '"');
      state.tasks[*kind] = task_state_from_json(task);
    }
    return state;
  });
}

}  // namespace transship::api
