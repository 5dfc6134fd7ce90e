#include "mover/service.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "mover/pod_cgroups.h"
#include "mover/restore_claim.h"

namespace transship::mover {
namespace {

using api::MoverRole;
using api::TaskKind;

constexpr std::chrono::milliseconds kShortTask{250};
constexpr std::string_view kTasks = "/v1/tasks/";

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 400;
    case ErrorCode::kForbidden:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kConflict:
      return 409;
    case ErrorCode::kPreconditionFailed:
      return 412;
    case ErrorCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

ControlReply refusal(const Error& error) {
  const nlohmann::json body = {{"code", to_string(error.code)}, {"message", error.message}};
  // Text that came from outside may be no UTF-8: never throw for it.
  return {http_status(error.code),
          body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

ControlReply json_reply(int status, const nlohmann::json& body) {
  return {status, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

// Kinds whose pod is the source pod; a place's is the new one, and a release may name none.
bool names_source_pod(TaskKind kind) {
  switch (kind) {
    case TaskKind::kInspect:
    case TaskKind::kFreeze:
    case TaskKind::kSeal:
    case TaskKind::kPin:
    case TaskKind::kKeep:
    case TaskKind::kKill:
    case TaskKind::kDump:
    case TaskKind::kTrialDump:
    case TaskKind::kPreCopy:
    case TaskKind::kSend:
      return true;
    default:
      return false;
  }
}

// A pod stands still meanwhile: the answer to the request saves a look at the state.
bool is_short(TaskKind kind) {
  return kind != TaskKind::kPreCopy && kind != TaskKind::kSend && kind != TaskKind::kReceive;
}

}  // namespace

MoverService::MoverService(const Node& node, TaskBoard::Identity identity,
                           std::map<TaskKind, TaskFunction> functions)
    : node_(node), identity_(identity), board_(std::move(identity), std::move(functions)) {}

ControlReply MoverService::handle(const ControlRequest& request) {
  {
    MutexLock lock(mutex_);
    last_request_ = Clock::now();
  }
  if (request.path == "/v1/state") {
    if (request.method == "GET") return json_reply(200, api::to_json_value(state()));
  } else if (request.path.starts_with(kTasks)) {
    if (request.method == "PUT") return put(request.path.substr(kTasks.size()), request.body);
  } else {
    return refusal({ErrorCode::kNotFound, "no such path"});
  }
  ControlReply reply = refusal({ErrorCode::kInvalid, "this path has no method " + request.method});
  reply.status = 405;
  return reply;
}

ControlReply MoverService::put(const std::string& name, const std::string& body) {
  const auto kind = api::parse_task_kind(name);
  if (!kind) return refusal({ErrorCode::kNotFound, "no such task"});
  auto request = api::parse_task_request(body);
  if (!request) return refusal(request.error());
  auto answer = board_.put(*kind, *request);
  if (!answer) return refusal(answer.error());
  if (answer->accepted && names_source_pod(*kind) && !request->pod_uid.empty()) {
    MutexLock lock(mutex_);
    source_pod_uid_ = request->pod_uid;
  }
  if (answer->accepted && is_short(*kind)) answer->state = board_.await(*kind, kShortTask);
  return json_reply(answer->accepted ? 202 : 200, api::to_json_value(answer->state));
}

api::MoverState MoverService::state() const {
  api::MoverState state;
  state.migration_uid = identity_.migration_uid;
  state.role = identity_.role;
  state.epoch = identity_.epoch;
  state.node_name = node_.config().name;
  state.boot_id = node_.boot_id();
  state.version = TRANSSHIP_VERSION;
  state.tasks = board_.states();
  state.source_processes = source_processes(state);
  if (identity_.role == MoverRole::kReceiver) {
    const RestoreClaim claim(node_, identity_.migration_uid);
    auto pod = claim.claimed_pod();
    auto restores = pod ? claim.restores() : pod.error();
    if (!restores) {
      log::warning("cannot read the claim", {{"error", restores.error().message}});
    } else {
      state.claimed_pod = std::move(pod).value();
      state.restores = std::move(restores).value();
    }
  }
  return state;
}

api::SourceProcesses MoverService::source_processes(const api::MoverState& state) const {
  std::string pod_uid;
  {
    MutexLock lock(mutex_);
    pod_uid = source_pod_uid_;
  }
  if (identity_.role != MoverRole::kSender || pod_uid.empty())
    return api::SourceProcesses::kUnknown;
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid);
  auto seen = cgroups ? cgroups->state() : Result<api::SourceProcesses>(cgroups.error());
  // CRIU holds the processes that it dumps by itself, while their freezer lets them go.
  const auto dump = state.tasks.find(TaskKind::kDump);
  const bool dumping = dump != state.tasks.end() && dump->second.phase == api::TaskPhase::kRunning;
  if (seen && *seen == api::SourceProcesses::kRunning && dumping)
    return api::SourceProcesses::kFrozen;
  if (seen) return *seen;
  log::warning("cannot read the source pod's processes", {{"error", seen.error().message}});
  return api::SourceProcesses::kUnknown;
}

MoverService::Clock::time_point MoverService::last_request() const {
  MutexLock lock(mutex_);
  return last_request_;
}

}  // namespace transship::mover
