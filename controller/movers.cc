#include <algorithm>

#include "controller/names.h"
#include "controller/render/render.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;

constexpr double kSilentSeconds = 30;  // a mover that does not answer for so long is given up
constexpr int kMostRenewals = 5;       // before the stop
constexpr const char* kRenewals = "moversRenewed";

const std::optional<Object>& node_of(const Observed& observed, MoverRole role) {
  return role == MoverRole::kSender ? observed.source_node : observed.target_node;
}

std::string loss_of(const ObservedMover& mover) {
  if (!mover.lost.empty()) return mover.lost;
  if (mover.silent_seconds > kSilentSeconds)
    return "it has not answered for " + std::to_string(static_cast<int>(mover.silent_seconds)) +
           " s";
  return "";
}

// While the pod still runs, what is on the target already is not thrown away for one lost mover.
bool may_renew_before_the_stop(Context& context, const std::optional<Object>& node) {
  if (!context.status.is_true(condition::kPrepared) || context.status.rollback ||
      !context.status.stop_requested_time.empty() || !copies_while_running(context))
    return false;
  if (!node || !node_is_ready(*node)) return false;
  std::string& renewals = context.status.notes[kRenewals];
  const int next = (renewals.empty() ? 0 : std::stoi(renewals)) + 1;
  if (next > kMostRenewals) return false;
  renewals = std::to_string(next);
  return true;
}

// Never given up after the commit or in a rollback, and now and then before the stop: a mover of a
// new epoch goes on with what is on the disk.
Decision renew(Context& context, MoverRole role, const std::string& why) {
  Delete remove;
  for (const MoverRole each : {MoverRole::kSender, MoverRole::kReceiver}) {
    if (context.observed.mover(each).job) {
      remove.items.push_back({Kind::kJob, context.settings.operator_namespace,
                              mover_job_name(context.migration(), each, context.status.epoch), "",
                              std::nullopt});
    }
  }
  ++context.status.epoch;
  const bool copies = context.status.stop_requested_time.empty() && !context.status.rollback;
  await(context.status, context.migration().generation,
        copies ? condition::kPreCopied : current_condition(context.status),
        role == MoverRole::kSender ? "SenderLost" : "ReceiverLost", "made anew: " + why,
        context.now);
  return context.act(std::move(remove));
}

Step mover(Context& context, MoverRole role) {
  const ObservedMover& mover = context.observed.mover(role);
  const std::string node =
      role == MoverRole::kSender ? context.status.source.node : context.status.target.node;
  const std::string who = "the " + std::string(to_string(role)) + " on node " + node;
  const bool must_go_on = context.status.rollback || is_committed(context.status);
  if (const std::string loss = loss_of(mover); !loss.empty()) {
    if (must_go_on || may_renew_before_the_stop(context, node_of(context.observed, role)))
      return renew(context, role, loss);
    return context.fail(role == MoverRole::kSender ? "SenderLost" : "ReceiverLost",
                        who + " is lost: " + loss);
  }
  if (!mover.job) {
    const auto& seen = node_of(context.observed, role);
    if (must_go_on && (!seen || !node_is_ready(*seen))) {
      return context.wait(current_condition(context.status), "NodeNotReady",
                          "node " + node + " is not Ready; going on when it is", 1000ms);
    }
    return context.act(
        Create{.items = {{Kind::kJob,
                          render::mover_job(context.migration(), context.settings, role, node)}}});
  }
  if (mover.state) return std::nullopt;
  std::string hint = mover.pod ? waiting_message(*mover.pod) : "";
  return context.wait(current_condition(context.status), "MoverStarting",
                      "waiting for " + who + (hint.empty() ? "" : ": " + hint), 50ms);
}

}  // namespace

Step movers(Context& context, Needs needs) {
  if (!context.observed.tls_secret) return context.act(Create{.tls_secret = true});
  if (needs.sender) {
    if (Step step = mover(context, MoverRole::kSender)) return step;
  }
  if (needs.receiver) {
    if (Step step = mover(context, MoverRole::kReceiver)) return step;
  }
  return std::nullopt;
}

namespace {

api::TreeKind tree_kind(const api::VolumeStatus& volume) {
  for (const api::TreeKind kind :
       {api::TreeKind::kLayer, api::TreeKind::kMemory, api::TreeKind::kSharedMemory}) {
    if (volume.kind == to_string(kind)) return kind;
  }
  return api::TreeKind::kVolume;
}

}  // namespace

api::TaskRequest task_request(const Context& context, MoverRole role) {
  api::TaskRequest request;
  request.migration_uid = context.migration().uid;
  request.epoch = context.status.epoch;
  request.pod_uid = context.status.source.pod_uid;
  for (const api::VolumeStatus& volume : context.status.volumes) {
    if (volume.plan != api::VolumePlan::kCopy) continue;
    api::MoverVolume item;
    item.name = volume.name;
    item.empty_dir = volume.kind == "EmptyDir";
    item.memory = volume.medium == "Memory";
    item.kind = tree_kind(volume);
    item.container = volume.container;
    if (!item.empty_dir && item.kind == api::TreeKind::kVolume) {
      item.node_path = role == MoverRole::kSender ? volume.source_path : volume.target_path;
      if (item.node_path.empty()) continue;  // not provisioned (yet), as in a dry run
    }
    request.volumes.push_back(std::move(item));
  }
  for (const api::ContainerStatus& container : context.status.containers) {
    const bool runs = !container.init;
    request.containers.push_back(
        {container.name, container.id, runs, runs && context.spec().memory, container.init});
  }
  return request;
}

const api::TaskState* task_state(const Observed& observed, MoverRole role, api::TaskKind kind) {
  const ObservedMover& mover = observed.mover(role);
  if (!mover.state) return nullptr;
  const auto found = mover.state->tasks.find(kind);
  return found == mover.state->tasks.end() ? nullptr : &found->second;
}

Step task(Context& context, MoverRole role, api::TaskKind kind, const api::TaskRequest& request,
          std::chrono::milliseconds poll) {
  const api::TaskState* state = task_state(context.observed, role, kind);
  if (state == nullptr) return context.act(RunTask{role, kind, request}, poll);
  if (state->phase == api::TaskPhase::kSucceeded) return std::nullopt;
  const std::string what = std::string(to_string(role)) + ": " + std::string(to_string(kind));
  if (state->phase == api::TaskPhase::kRunning) {
    return context.wait(current_condition(context.status), "InProgress", what + " is running",
                        poll);
  }
  if (!context.status.rollback && !is_committed(context.status)) {
    const std::string reason = state->error_code == ErrorCode::kNoSpace ? "NoSpace" : "TaskFailed";
    return context.fail(reason, what + ": " + state->message);
  }
  await(context.status, context.migration().generation, current_condition(context.status),
        "TaskFailed", what + " is tried again: " + state->message, context.now);
  return context.act(RunTask{role, kind, request}, 2000ms);
}

}  // namespace transship::controller
