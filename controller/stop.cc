#include <algorithm>

#include "controller/names.h"
#include "controller/preflight.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::SourceProcesses;

constexpr int kDumpSeconds = 120;  // CRIU may hang for ever (a stopped task, say)
// Before the probes' budget is over the controller lets a frozen pod go and, where it is away, the
// sender does, later: what seeing to it takes.
constexpr double kControllerThawsSeconds = 0.5;
constexpr std::chrono::milliseconds kMoverThaws{250};
constexpr double kHoldSeconds = 15;  // an admission policy's parameter lags by milliseconds

Object selector_of(const Observed& observed) {
  return observed.owner_deployment
             ? at(*observed.owner_deployment, {"spec", "selector", "matchLabels"})
             : Object();
}

api::Hold make_hold(const Context& context) {
  api::Hold hold;
  const Object selector = selector_of(context.observed);
  if (selector.is_object()) {
    // By labels: a rollout in the middle makes the replacement under another ReplicaSet.
    hold.labels = selector.get<std::map<std::string, std::string>>();
  } else {
    hold.owner_uid = context.status.owner.uid;
  }
  // By name too: the other replicas of a StatefulSet go on as ever.
  if (context.status.owner.kind == "StatefulSet") hold.pod_name = context.status.source.pod_name;
  if (context.restores_containers()) hold.runtime_class = kRuntimeClassName;
  if (context.needs_gate()) {
    hold.gate_image = context.settings.mover_image;
    hold.gate_image_pull_policy = context.settings.mover_image_pull_policy;
    hold.gate_guaranteed = is_guaranteed(*context.observed.source_pod);
  }
  return hold;
}

Patch set_finalizers(const Context& context, const Object& pod, Object finalizers) {
  return Patch{Kind::kPod,
               context.migration().namespace_name,
               name_of(pod),
               {{"metadata",
                 {{"uid", uid_of(pod)},
                  {"resourceVersion", text_at(pod, {"metadata", "resourceVersion"})},
                  {"finalizers", std::move(finalizers)}}}}};
}

// The other end of a session that rests may have failed since.
Step session_rests(Context& context) {
  if (!copies_while_running(context)) return std::nullopt;
  const api::TaskState* receive =
      task_state(context.observed, MoverRole::kReceiver, api::TaskKind::kReceive);
  if (receive == nullptr || receive->phase != api::TaskPhase::kFailed) return std::nullopt;
  return task(context, MoverRole::kReceiver, api::TaskKind::kReceive, {}, kSoon);
}

// Everything that can be done while the pod still runs.
Step before_the_stop(Context& context) {
  const Observed& observed = context.observed;
  if (Step step = source_runs(context)) return step;
  if (context.spec().suspend) {
    // Back to copying: what is written while it is held should not wait for the stop.
    return context.wait(
        copies_while_running(context) ? condition::kPreCopied : condition::kSourceStopped,
        "Suspended", "spec.suspend holds the migration before the stop", 1000ms);
  }
  if (context.owned()) {
    if (Step step = hold(context)) return step;
  }
  if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
  if (Step step = session_rests(context)) return step;
  if (context.places_empty_dirs() && context.graceful()) {
    if (Step step = task(context, MoverRole::kSender, api::TaskKind::kPin,
                         task_request(context, MoverRole::kSender), kSoon)) {
      return step;
    }
  }
  if (context.graceful() && !has_finalizer(*observed.source_pod, kFence)) {
    Object finalizers = list_at(*observed.source_pod, {"metadata", "finalizers"});
    finalizers.push_back(kFence);
    return context.act(set_finalizers(context, *observed.source_pod, std::move(finalizers)));
  }
  context.status.stop_requested_time = format_micros(context.now);
  return context.again();
}

Step freeze(Context& context) {
  if (!context.observed.source_pod || is_deleting(*context.observed.source_pod)) {
    return context.fail("PodDeleted", "the source pod was deleted by somebody else");
  }
  if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
  if (Step step = within_freeze_budget(context)) return step;
  api::TaskRequest stop = task_request(context, MoverRole::kSender);
  stop.freeze_budget_milliseconds = freeze_budget_of_mover(*context.observed.source_pod);
  if (Step step = task(context, MoverRole::kSender, api::TaskKind::kFreeze, stop, kSoon))
    return step;
  if (!context.spec().memory) return std::nullopt;
  api::TaskRequest request = task_request(context, MoverRole::kSender);
  request.deadline_seconds = kDumpSeconds;
  return task(context, MoverRole::kSender, api::TaskKind::kDump, request, kSoon);
}

}  // namespace

Step source_runs(Context& context) {
  const Observed& observed = context.observed;
  if (!observed.source_pod)
    return context.fail("PodDeleted", "the source pod is gone before it was stopped");
  if (is_deleting(*observed.source_pod))
    return context.fail("PodDeleted", "the source pod was deleted by somebody else");
  if (pod_is_finished(*observed.source_pod))
    return context.fail("PodFinished", "the source pod has ended by itself");
  return std::nullopt;
}

Step hold(Context& context) {
  if (!context.status.hold) {
    context.status.hold = make_hold(context);
    return context.again();
  }
  if (context.observed.hold_in_force.value_or(false)) return std::nullopt;
  const char* type = current_condition(context.status);
  if (!is_committed(context.status)) {
    const api::Condition* copied = context.status.find(condition::kPreCopied);
    if (seconds_since(copied->last_transition_time, context.now) > kHoldSeconds) {
      return context.fail("HoldNotInForce",
                          std::string("the admission policy ") + kHoldPolicy +
                              " does not hold a replacement: is its binding there, and does "
                              "another policy take the scheduling gate away?");
    }
  }
  return context.wait(type, "HoldPending", "waiting for the hold on the replacement to be in force",
                      kSoon);
}

Step frozen_source_is_dead(Context& context) {
  const Observed& observed = context.observed;
  // First, so that the kubelet starts nothing in the place of what is killed.
  if (observed.source_pod &&
      at(*observed.source_pod, {"metadata", "deletionGracePeriodSeconds"}) != 0) {
    return context.act(Delete{{{Kind::kPod, context.migration().namespace_name,
                                name_of(*observed.source_pod), uid_of(*observed.source_pod), 0}}});
  }
  if (Step step = movers(context, {.sender = true})) return step;
  // Also where it has no processes any more: a kubelet that has not heard of its end starts it
  // anew, and after this nothing of it runs.
  api::TaskRequest request = task_request(context, MoverRole::kSender);
  request.volumes.clear();
  if (Step step = task(context, MoverRole::kSender, api::TaskKind::kKill, request, kSoon))
    return step;
  if (observed.sender.state->source_processes == SourceProcesses::kNone) return std::nullopt;
  return context.wait(current_condition(context.status), "SourceTerminating",
                      "waiting for the source pod's processes to end", kSoon);
}

int64_t freeze_budget_of_mover(const Object& pod) {
  const auto budget = freeze_budget(pod);
  return budget ? std::chrono::milliseconds(*budget - kMoverThaws).count() : 0;
}

Step within_freeze_budget(Context& context) {
  if (context.graceful() || !context.observed.source_pod) return std::nullopt;
  const auto budget = freeze_budget(*context.observed.source_pod);
  if (!budget) return std::nullopt;
  const double frozen = seconds_since(context.status.stop_requested_time, context.now);
  if (frozen + kControllerThawsSeconds < static_cast<double>(budget->count())) return std::nullopt;
  return context.fail("FreezeBudgetExceeded",
                      "the pod was frozen for nearly " + std::to_string(budget->count()) +
                          " s, after which a liveness probe has it killed, and its copy is not "
                          "verified yet: raise the probe's periodSeconds or failureThreshold, or "
                          "move it when it writes less");
}

Step source_is_dead(Context& context) {
  const Observed& observed = context.observed;
  const char* type = current_condition(context.status);
  if (observed.source_pod && !is_deleting(*observed.source_pod)) {
    // With the resource version: a delete that comes late finds a changed pod and does nothing.
    return context.act(
        Delete{{{Kind::kPod, context.migration().namespace_name, name_of(*observed.source_pod),
                 uid_of(*observed.source_pod), std::nullopt,
                 text_at(*observed.source_pod, {"metadata", "resourceVersion"})}}},
        kSoon);
  }
  if (Step step = movers(context, {.sender = true})) return step;
  if (context.places_empty_dirs() && !context.status.rollback) {
    // While its processes are still ending: from here on the node may even reboot.
    if (Step step = task(context, MoverRole::kSender, api::TaskKind::kKeep,
                         task_request(context, MoverRole::kSender), kSoon)) {
      return step;
    }
  }
  const SourceProcesses processes = observed.sender.state->source_processes;
  if (processes == SourceProcesses::kUnknown) {
    // A mover that was made anew has to be told whose processes they are.
    api::TaskRequest request = task_request(context, MoverRole::kSender);
    request.volumes.clear();
    if (Step step = task(context, MoverRole::kSender, api::TaskKind::kInspect, request, kSoon))
      return step;
  }
  if (processes != SourceProcesses::kNone) {
    return context.wait(type, "SourceTerminating", "waiting for the source pod's processes to end",
                        kSoon);
  }
  if (observed.source_pod && !all_containers_terminated(*observed.source_pod)) {
    return context.wait(type, "SourceTerminating",
                        "the kubelet has not reported the containers terminated yet", kSoon);
  }
  return std::nullopt;
}

Step remove_source_pod(Context& context) {
  if (!context.observed.source_pod) return std::nullopt;
  const Object& pod = *context.observed.source_pod;
  if (has_finalizer(pod, kFence)) {
    Object finalizers = Object::array();
    for (const Object& finalizer : list_at(pod, {"metadata", "finalizers"})) {
      if (finalizer != kFence) finalizers.push_back(finalizer);
    }
    return context.act(set_finalizers(context, pod, finalizers.empty() ? Object() : finalizers));
  }
  // The kubelet would hold the object until the pinned emptyDirs are gone; it is proven dead.
  return context.act(
      Delete{{{Kind::kPod, context.migration().namespace_name, name_of(pod), uid_of(pod), 0}}},
      kSoon);
}

Step stop_source(Context& context) {
  if (context.status.stop_requested_time.empty()) return before_the_stop(context);
  if (Step step = context.graceful() ? source_is_dead(context) : freeze(context)) return step;
  context.status.stopped_time = format_micros(context.now);
  context.done(condition::kSourceStopped, context.graceful() ? "Terminated" : "Frozen",
               context.graceful() ? "every process of the source pod has ended"
                                  : "every process of the source pod is frozen");
  return context.again();
}

}  // namespace transship::controller
