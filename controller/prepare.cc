#include <algorithm>

#include "controller/names.h"
#include "controller/node_facts.h"
#include "controller/preflight.h"
#include "controller/render/render.h"
#include "controller/runtime_nodes.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::VolumePlan;
using api::VolumeStatus;

constexpr double kUnschedulableSeconds = 30;  // an autoscaler that helps is seen to help by then
constexpr double kPrepareSeconds = 600;       // images may have to be pulled

// The annotation on the pod that keeps a second migration away; whoever sets it first has it.
Step lock_pod(Context& context) {
  const Object& pod = *context.observed.source_pod;
  const std::string holder = annotation(pod, kLock);
  if (holder == context.migration().uid) return std::nullopt;
  if (!holder.empty() && !context.observed.rival.empty()) {
    return context.fail("AlreadyMigrating",
                        "migration " + context.observed.rival + " holds the pod");
  }
  return context.act(Patch{Kind::kPod,
                           context.migration().namespace_name,
                           name_of(pod),
                           {{"metadata",
                             {{"uid", uid_of(pod)},
                              {"resourceVersion", text_at(pod, {"metadata", "resourceVersion"})},
                              {"annotations", {{kLock, context.migration().uid}}}}}}});
}

Create children(const Context& context) {
  const Observed& observed = context.observed;
  const api::Migration& migration = context.migration();
  const bool real = !context.spec().dry_run;
  Create create;
  create.tls_secret = !observed.tls_secret;
  const auto add = [&](Kind kind, Object object) {
    create.items.push_back({kind, std::move(object)});
  };
  std::map<std::string, Object> claims;
  for (const VolumeStatus& volume : context.status.volumes) {
    if (volume.swaps_claim()) claims[volume.name] = *observed.volumes.at(volume.name).claim;
  }
  if (real && !observed.saved_pod) {
    add(Kind::kSecret,
        render::pod_secret(migration, context.settings, *observed.source_pod, claims));
  }
  if (!observed.sender.job) {
    add(Kind::kJob, render::mover_job(migration, context.settings, MoverRole::kSender,
                                      context.status.source.node));
  }
  if (!observed.receiver.job && !context.status.target.node.empty()) {
    add(Kind::kJob, render::mover_job(migration, context.settings, MoverRole::kReceiver,
                                      context.status.target.node));
  }
  for (const auto& [name, claim] : claims) {
    const auto& seen = observed.volumes.at(name);
    const bool bound = std::any_of(context.status.volumes.begin(), context.status.volumes.end(),
                                   [&, &key = name](const VolumeStatus& item) {
                                     return item.name == key && !item.target_volume.empty();
                                   });
    if (real && !bound && !seen.staging_claim) {
      add(Kind::kClaim, render::staging_claim(migration, context.settings, name, claim));
    }
  }
  // Where the reservation pod lands is the target, and what it mounts is provisioned there.
  if (!observed.reservation && context.status.notes.count("reserved") == 0) {
    add(Kind::kPod,
        render::reservation_pod(migration, context.settings, *observed.source_pod, real,
                                unsuitable_nodes(observed.runtime_pods, context.status.source.node,
                                                 context.spec().memory)));
  }
  return create;
}

bool claims_staged(const Context& context) {
  return std::all_of(context.status.volumes.begin(), context.status.volumes.end(),
                     [](const VolumeStatus& volume) {
                       return !volume.swaps_claim() || !volume.target_volume.empty();
                     });
}

Step reserve(Context& context) {
  const Observed& observed = context.observed;
  if (context.status.notes.count("reserved") != 0) return std::nullopt;
  const Object& pod = *observed.reservation;
  const std::string node = text_at(pod, {"spec", "nodeName"});
  if (node.empty()) {
    const std::string message = unschedulable_message(pod);
    const std::string since = text_at(pod, {"metadata", "creationTimestamp"});
    if (!message.empty() && seconds_since(since, context.now) > kUnschedulableSeconds) {
      return context.fail("Unschedulable", "no node can take the pod: " + message);
    }
    return await_prepared(context, "Unschedulable",
                          message.empty() ? "waiting for the scheduler" : message);
  }
  if (context.status.target.node.empty()) {
    context.status.target.node = node;
    return context.again();
  }
  return std::nullopt;
}

// Records the staged PVs, and both sides' reclaim policies before they are set to Retain.
Step record_volumes(Context& context) {
  for (VolumeStatus& volume : context.status.volumes) {
    if (!volume.swaps_claim() || !volume.target_volume.empty()) continue;
    const ObservedVolume& seen = context.observed.volumes.at(volume.name);
    const std::string bound =
        seen.staging_claim && text_at(*seen.staging_claim, {"status", "phase"}) == "Bound"
            ? text_at(*seen.staging_claim, {"spec", "volumeName"})
            : "";
    if (bound.empty()) {
      const std::string hint =
          context.observed.reservation ? waiting_message(*context.observed.reservation) : "";
      return await_prepared(context, "Provisioning",
                            "waiting for the volume of " + volume.claim_name + " on node " +
                                context.status.target.node + (hint.empty() ? "" : ": " + hint));
    }
    volume.target_volume = bound;
    return context.again();
  }
  return std::nullopt;
}

Step retain(Context& context) {
  for (VolumeStatus& volume : context.status.volumes) {
    if (!volume.swaps_claim()) continue;
    const ObservedVolume& seen = context.observed.volumes.at(volume.name);
    if (!seen.target_volume || !seen.source_volume) {
      return await_prepared(context, "Provisioning",
                            "PersistentVolume " + volume.target_volume + " is not there yet");
    }
    if (volume.target_path.empty()) {
      volume.target_path = node_path(*seen.target_volume);
      volume.target_reclaim_policy =
          text_at(*seen.target_volume, {"spec", "persistentVolumeReclaimPolicy"});
      if (volume.target_path.empty()) {
        return context.fail("UnsupportedVolume",
                            "PersistentVolume " + volume.target_volume + " for claim " +
                                volume.claim_name +
                                " is neither hostPath nor local: choose such a "
                                "class in spec.target.storageClassName");
      }
      return context.again();
    }
    for (const Object* object : {&*seen.target_volume, &*seen.source_volume}) {
      if (text_at(*object, {"spec", "persistentVolumeReclaimPolicy"}) == "Retain") continue;
      return context.act(Patch{Kind::kVolume,
                               "",
                               name_of(*object),
                               {{"metadata", {{"uid", uid_of(*object)}}},
                                {"spec", {{"persistentVolumeReclaimPolicy", "Retain"}}}}});
    }
  }
  return std::nullopt;
}

// The claims' work is done: the PVs stay, Released, and are pointed at the original names later.
Step end_reservation(Context& context) {
  const Observed& observed = context.observed;
  if (context.status.notes.count("reserved") == 0) {
    const bool pulled = !observed.reservation ||
                        text_at(*observed.reservation, {"status", "phase"}) == "Running" ||
                        claims_staged(context);
    if (!pulled) return await_prepared(context, "Provisioning", "waiting for the reservation pod");
    context.status.notes["reserved"] = "true";
    return context.again();
  }
  Delete remove;
  const std::string& ns = context.settings.operator_namespace;
  if (observed.reservation && !is_deleting(*observed.reservation)) {
    remove.items.push_back(
        {Kind::kPod, ns, name_of(*observed.reservation), uid_of(*observed.reservation), 0});
  }
  bool left = observed.reservation.has_value();
  for (const auto& [name, seen] : observed.volumes) {
    if (!seen.staging_claim) continue;
    left = true;
    if (is_deleting(*seen.staging_claim)) continue;
    remove.items.push_back({Kind::kClaim, ns, name_of(*seen.staging_claim),
                            uid_of(*seen.staging_claim), std::nullopt});
  }
  if (!remove.items.empty()) return context.act(std::move(remove), 50ms);
  if (left)
    return await_prepared(context, "Provisioning", "waiting for the staging claims to go", 50ms);
  return std::nullopt;
}

Step check_space(Context& context) {
  const api::TaskState* there =
      task_state(context.observed, MoverRole::kReceiver, api::TaskKind::kInspect);
  const api::TaskState* here =
      task_state(context.observed, MoverRole::kSender, api::TaskKind::kInspect);
  std::string problems;
  std::string too_many;
  for (const api::VolumeReport& volume : here->volumes) {
    if (volume.entries > api::kMostEntries) {
      too_many += "volume " + volume.name + " has " + std::to_string(volume.entries) +
                  " entries, and " + std::to_string(api::kMostEntries) +
                  " are the most that are moved: delete or pack some of them; ";
    }
    if (VolumeStatus* status = context.status.volume(volume.name)) {
      status->bytes = volume.bytes;
      status->entries = volume.entries;
    }
    const auto free =
        std::find_if(there->volumes.begin(), there->volumes.end(),
                     [&](const api::VolumeReport& item) { return item.name == volume.name; });
    if (free == there->volumes.end()) continue;
    if (free->free_bytes < volume.bytes) {
      problems += "volume " + volume.name + " needs " + std::to_string(volume.bytes) +
                  " bytes and node " + context.status.target.node + " has " +
                  std::to_string(free->free_bytes) + " free; ";
    } else if (free->free_inodes > 0 && free->free_inodes < volume.entries) {
      problems += "volume " + volume.name + " needs " + std::to_string(volume.entries) +
                  " inodes and node " + context.status.target.node + " has " +
                  std::to_string(free->free_inodes) + " free; ";
    }
  }
  problems = too_many + problems;
  set_check(context.status,
            {"Space", problems.empty() ? "Passed" : "Failed",
             problems.empty() ? "enough bytes and inodes on the target" : problems});
  if (!too_many.empty()) return context.fail("TooManyEntries", problems);
  if (!problems.empty()) return context.fail("NoSpace", problems);
  return std::nullopt;
}

// Preflight could not look at a target that the scheduler chose.
Step check_target_again(Context& context) {
  if (!context.observed.target_node) return std::nullopt;
  constexpr const char* kElse = ", or name another in spec.target.nodeName";
  if (const std::string problem = kernel_problem(*context.observed.target_node); !problem.empty())
    return context.fail("KernelTooOld", problem + kElse);
  if (!context.restores_containers()) return std::nullopt;
  const std::vector<Object>& runtime_pods = context.observed.runtime_pods;
  const std::string target = name_of(*context.observed.target_node);
  const std::string problem = runtime_problem(runtime_pods, target);
  if (!problem.empty()) return context.fail("RuntimeNotReady", problem + kElse);
  if (!context.spec().memory) return std::nullopt;
  api::PreflightCheck check = nodes_check(runtime_pods, context.status.source.node, target);
  const bool differ = check.result == "Failed";
  const std::string message = check.message;
  set_check(context.status, std::move(check));
  if (differ) return context.fail("NodesDiffer", message + kElse);
  return std::nullopt;
}

}  // namespace

Decision await_prepared(Context& context, std::string_view reason, const std::string& message,
                        std::chrono::milliseconds delay) {
  const api::Condition* validated = context.status.find(condition::kValidated);
  if (seconds_since(validated->last_transition_time, context.now) > kPrepareSeconds) {
    return context.fail("PrepareTimeout", "not prepared within " +
                                              std::to_string(static_cast<int>(kPrepareSeconds)) +
                                              " s; last: " + message);
  }
  return context.wait(condition::kPrepared, reason, message, delay);
}

Step prepare(Context& context) {
  const Observed& observed = context.observed;
  if (!observed.source_pod || is_deleting(*observed.source_pod)) {
    return context.fail("PodDeleted", "the source pod was deleted by somebody else");
  }
  const bool real = !context.spec().dry_run;
  if (real) {
    if (Step step = lock_pod(context)) return step;
  }
  if (context.spec().suspend) {
    return context.wait(condition::kPrepared, "Suspended", "spec.suspend holds the migration",
                        1000ms);
  }
  if (Step step = check_target_again(context)) return step;
  if (Create create = children(context); create.tls_secret || !create.items.empty())
    return context.act(std::move(create));
  if (Step step = reserve(context)) return step;
  if (Step step = compare_images(context)) return step;
  if (real) {
    if (Step step = record_volumes(context)) return step;
    if (Step step = retain(context)) return step;
  }
  if (Step step = end_reservation(context)) return step;
  if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
  for (const MoverRole role : {MoverRole::kSender, MoverRole::kReceiver}) {
    const api::TaskRequest request = task_request(context, role);
    if (Step step = task(context, role, api::TaskKind::kInspect, request, 50ms)) return step;
  }
  if (Step step = check_space(context)) return step;
  if (Step step = trial_dump(context)) return step;
  context.done(condition::kPrepared, real ? "Prepared" : "DryRun",
               "movers on both nodes answer; volumes are staged");
  return context.again();
}

}  // namespace transship::controller
