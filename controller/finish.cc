#include <algorithm>
#include <set>

#include "controller/names.h"
#include "controller/render/render.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::VolumePlan;
using api::VolumeStatus;

constexpr double kReleaseSeconds =
    60;  // for a node that does not come back, clean-up is not for ever
constexpr int kMostBackoffSeconds = 300;

const std::set<std::string> kFinalReasons = {
    "Cancelled",      "Deleted",       "DeadlineExceeded", "PodDeleted",      "PodReplaced",
    "PodFinished",    "NameConflict",  "AlreadyMigrating", "PreflightFailed", "PodNotFound",
    "PodTerminating", "PodNotRunning", "Forbidden",        "Refused"};

double seconds_of_cleanup(Context& context) {
  std::string& began = context.status.notes["cleanupBegan"];
  if (began.empty()) began = format_micros(context.now);
  return seconds_since(began, context.now);
}

bool answers(const ObservedMover& mover) {
  return mover.job.has_value() && mover.state.has_value();
}

// Pins, staging and, after a failure, what was copied. A mover that cannot answer is waited for,
// not for ever.
Step release(Context& context, MoverRole role, bool failed) {
  const ObservedMover& mover = context.observed.mover(role);
  const std::string key = "released-" + std::string(to_string(role));
  if (context.status.notes.count(key) != 0) return std::nullopt;
  const bool was_needed = context.status.is_true(condition::kPrepared) ||
                          context.status.notes.count(kTrialDump) != 0 ||
                          !context.status.stop_requested_time.empty();
  if (!mover.job && !was_needed) return std::nullopt;
  if (!answers(mover)) {
    if (!was_needed) return std::nullopt;
    if (seconds_of_cleanup(context) > kReleaseSeconds) {
      context.status.notes[key] = "skipped: the node did not answer; <kubelet root>/transship/" +
                                  context.migration().uid + " may be left there";
      return context.again();
    }
    if (Step step = movers(context, {.sender = role == MoverRole::kSender,
                                     .receiver = role == MoverRole::kReceiver})) {
      return step;
    }
  }
  api::TaskRequest request = task_request(context, role);
  // The side that lost: nobody needs its copy any more.
  request.discard = failed == (role == MoverRole::kReceiver);
  if (Step step = task(context, role, api::TaskKind::kRelease, request, kSoon)) {
    if (seconds_of_cleanup(context) <= kReleaseSeconds) return step;
    const api::TaskState* state = task_state(context.observed, role, api::TaskKind::kRelease);
    context.status.notes[key] = "failed: " + (state == nullptr ? "no answer" : state->message);
    return context.again();
  }
  context.status.notes[key] = "true";
  return context.again();
}

Step set_policy(Context& context, const std::optional<Object>& volume, const std::string& policy) {
  if (!volume || policy.empty()) return std::nullopt;
  if (text_at(*volume, {"spec", "persistentVolumeReclaimPolicy"}) == policy) return std::nullopt;
  return context.act(Patch{Kind::kVolume,
                           "",
                           name_of(*volume),
                           {{"metadata", {{"uid", uid_of(*volume)}}},
                            {"spec", {{"persistentVolumeReclaimPolicy", policy}}}}});
}

// The volumes that end get their own policy back last of all: with Delete, their data go.
Step give_policies_back(Context& context, bool failed) {
  for (const VolumeStatus& volume : context.status.volumes) {
    // Without a target volume this migration never set Retain: another one may have.
    if (volume.target_volume.empty() || context.observed.volumes.count(volume.name) == 0) continue;
    const ObservedVolume& seen = context.observed.volumes.at(volume.name);
    if (failed) {
      if (Step step = set_policy(context, seen.source_volume, volume.source_reclaim_policy))
        return step;
      // Still claimed by the staging claim: going with it is the provisioner's work.
      if (Step step = set_policy(context, seen.target_volume, volume.target_reclaim_policy))
        return step;
    } else if (Step step = set_policy(context, seen.target_volume, volume.target_reclaim_policy)) {
      return step;
    }
  }
  return std::nullopt;
}

Step unlock_source_pod(Context& context) {
  if (!context.observed.source_pod) return std::nullopt;
  const Object& pod = *context.observed.source_pod;
  // Not ours: then its fence, if it has one, is another migration's.
  if (annotation(pod, kLock) != context.migration().uid) return std::nullopt;
  Object finalizers = Object::array();
  for (const Object& finalizer : list_at(pod, {"metadata", "finalizers"})) {
    if (finalizer != kFence) finalizers.push_back(finalizer);
  }
  return context.act(Patch{Kind::kPod,
                           context.migration().namespace_name,
                           name_of(pod),
                           {{"metadata",
                             {{"uid", uid_of(pod)},
                              {"resourceVersion", text_at(pod, {"metadata", "resourceVersion"})},
                              {"annotations", {{kLock, Object()}}},
                              {"finalizers", finalizers.empty() ? Object() : finalizers}}}}});
}

// Pods that were held besides the one that was brought up go where the scheduler wants.
Step let_others_go(Context& context) {
  if (context.status.hold) {
    context.status.hold.reset();
    return context.again();
  }
  for (const Object& pod : context.observed.replacements) {
    if (!has_scheduling_gate(pod, kSchedulingGate)) continue;
    Object patch = render::release_to_node(pod, "");
    patch["spec"].erase("affinity");
    return context.act(
        Patch{Kind::kPod, context.migration().namespace_name, name_of(pod), std::move(patch)});
  }
  return std::nullopt;
}

Step unlock_restored_pod(Context& context) {
  const auto& pod = context.observed.restored_pod;
  if (!pod || annotation(*pod, kLock) != context.migration().uid) return std::nullopt;
  return context.act(
      Patch{Kind::kPod,
            context.migration().namespace_name,
            name_of(*pod),
            {{"metadata", {{"uid", uid_of(*pod)}, {"annotations", {{kLock, Object()}}}}}}});
}

// Pods of Jobs go with them.
Delete delete_children(const Context& context) {
  Delete remove;
  for (const auto& [kind, object] : context.observed.children) {
    const bool of_a_job = kind == Kind::kPod && !controller_owner(object).is_null();
    if (is_deleting(object) || of_a_job) continue;
    const std::optional<int> grace = kind == Kind::kPod ? std::optional<int>(0) : std::nullopt;
    remove.items.push_back(
        {kind, context.settings.operator_namespace, name_of(object), uid_of(object), grace});
  }
  return remove;
}

std::string leftovers(const api::MigrationStatus& status) {
  std::string out;
  for (const auto& [key, note] : status.notes) {
    if (key.rfind("released-", 0) == 0 && note != "true") out += "; " + key.substr(9) + " " + note;
  }
  return out;
}

Decision end(Context& context, bool success, std::string_view reason, const std::string& message) {
  context.status.completion_time = format_micros(context.now);
  context.status.total_seconds = seconds_since(context.status.start_time, context.now);
  set_condition(context.status, context.migration().generation, condition::kSucceeded,
                success ? "True" : "False", reason, message + leftovers(context.status),
                context.now);
  return context.again();
}

Decision end_attempt(Context& context) {
  const api::Rollback rollback = *context.status.rollback;
  const bool again = kFinalReasons.count(rollback.reason) == 0 &&
                     context.status.attempts <= context.spec().backoff_limit;
  if (!again) return end(context, false, rollback.reason, rollback.message);
  const int delay = std::min(kMostBackoffSeconds, 5 << std::min(6, context.status.attempts - 1));
  std::string& not_before = context.status.notes["notBefore"];
  if (not_before.empty()) not_before = format_micros(context.now + std::chrono::seconds(delay));
  if (seconds_since(not_before, context.now) < 0) {
    return context.wait(condition::kSucceeded, "BackOff",
                        "tried again soon after: " + rollback.message, kLater);
  }
  const api::PodPlace back = restored_pod(context.status);
  begin_attempt(context.status, context.migration().generation, context.now);
  if (!back.pod_uid.empty()) {
    context.status.notes["podName"] = back.pod_name;
    context.status.notes["podUID"] = back.pod_uid;
  }
  return context.again();
}

// The source's data, kept until now, may go: their own reclaim policy decides.
Step end_retention(Context& context) {
  const bool success = context.status.is_true(condition::kSucceeded);
  for (const VolumeStatus& volume : context.status.volumes) {
    // A volume that was left out was not copied: its data stay where they are.
    if (!success || !volume.swaps_claim() || volume.plan != VolumePlan::kCopy) continue;
    const auto seen = context.observed.volumes.find(volume.name);
    if (seen == context.observed.volumes.end() || !seen->second.source_volume) continue;
    if (text_at(*seen->second.source_volume, {"spec", "persistentVolumeReclaimPolicy"}) ==
        volume.source_reclaim_policy)
      continue;
    const double kept = seconds_since(context.status.completion_time, context.now);
    const auto retention = static_cast<double>(context.spec().source_retention_seconds);
    if (kept < retention && !context.migration().deleting) {
      return context.again(
          std::chrono::milliseconds(static_cast<int64_t>((retention - kept) * 1000) + 1));
    }
    return set_policy(context, seen->second.source_volume, volume.source_reclaim_policy);
  }
  return std::nullopt;
}

std::string dry_run_message(const Context& context) {
  if (!context.status.trial_dump) return "the pod can be moved; nothing was touched";
  return "the pod can be moved; it was frozen once, for the trial dump of its memory";
}

}  // namespace

Step clean_up(Context& context, bool failed) {
  seconds_of_cleanup(context);
  if (Step step = release(context, MoverRole::kSender, failed)) return step;
  if (Step step = release(context, MoverRole::kReceiver, failed)) return step;
  if (Step step = let_others_go(context)) return step;
  if (Step step = unlock_source_pod(context)) return step;
  if (Step step = unlock_restored_pod(context)) return step;
  if (Step step = give_policies_back(context, failed)) return step;
  if (Delete remove = delete_children(context); !remove.items.empty())
    return context.act(std::move(remove));
  return std::nullopt;
}

Decision roll_back(Context& context) {
  if (may_have_stopped(context.status) && context.status.notes.count("sourceIsBack") == 0) {
    if (!context.graceful()) {
      // Thawing what was never frozen does nothing.
      if (context.observed.source_pod) {
        if (Step step = movers(context, {.sender = true})) return *step;
        const api::TaskRequest request = task_request(context, MoverRole::kSender);
        if (Step step = task(context, MoverRole::kSender, api::TaskKind::kThaw, request, kSoon))
          return *step;
      }
    } else if (!context.observed.source_pod || is_deleting(*context.observed.source_pod)) {
      if (Step step = source_is_dead(context)) return *step;
      if (Step step = bring_up(context, {context.status.source.node, MoverRole::kSender, false}))
        return *step;
    }
    context.status.notes["sourceIsBack"] = format_micros(context.now);
    if (const std::string& stop = context.status.stop_requested_time; !stop.empty())
      context.status.downtime_seconds = seconds_since(stop, context.now);
    return context.again();
  }
  if (Step step = clean_up(context, true)) return *step;
  return end_attempt(context);
}

Decision clean_up_and_succeed(Context& context) {
  if (Step step = clean_up(context, context.spec().dry_run)) return *step;
  if (context.spec().dry_run) return end(context, true, "DryRun", dry_run_message(context));
  return end(
      context, true, "Migrated",
      "moved from node " + context.status.source.node + " to node " + context.status.target.node);
}

Decision after_the_end(Context& context) {
  const api::Migration& migration = context.migration();
  const bool finalized = std::find(migration.finalizers.begin(), migration.finalizers.end(),
                                   kFinalizer) == migration.finalizers.end();
  if (!finalized) {
    if (Delete remove = delete_children(context); !remove.items.empty())
      return context.act(std::move(remove), kLater);
    if (!context.observed.children.empty() &&
        seconds_since(context.status.completion_time, context.now) < kReleaseSeconds) {
      return context.again(kLater);
    }
    if (Step step = end_retention(context)) return *step;
    Object finalizers = Object::array();
    for (const std::string& finalizer : migration.finalizers) {
      if (finalizer != kFinalizer) finalizers.push_back(finalizer);
    }
    return context.act(Patch{Kind::kMigration,
                             migration.namespace_name,
                             migration.name,
                             {{"metadata",
                               {{"uid", migration.uid},
                                {"resourceVersion", migration.resource_version},
                                {"finalizers", finalizers.empty() ? Object() : finalizers}}}}});
  }
  if (migration.deleting || !context.spec().ttl_seconds_after_finished)
    return {context.status, {}, std::nullopt};
  const double left = static_cast<double>(*context.spec().ttl_seconds_after_finished) -
                      seconds_since(context.status.completion_time, context.now);
  if (left > 0)
    return context.again(std::chrono::milliseconds(static_cast<int64_t>(left * 1000) + 1));
  return context.act(Delete{{{Kind::kMigration, migration.namespace_name, migration.name,
                              migration.uid, std::nullopt}}},
                     kLater);
}

}  // namespace transship::controller
