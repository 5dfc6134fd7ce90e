#include <algorithm>

#include "controller/names.h"
#include "controller/render/render.h"
#include "controller/status.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::VolumeStatus;

Patch point_volume(const VolumeStatus& volume, const std::string& volume_name,
                   const std::string& claim_namespace, const std::string& claim_name,
                   const Object& claim_uid) {
  (void)volume;
  return Patch{Kind::kVolume,
               "",
               volume_name,
               {{"spec",
                 {{"claimRef",
                   {{"apiVersion", "v1"},
                    {"kind", "PersistentVolumeClaim"},
                    {"namespace", claim_namespace},
                    {"name", claim_name},
                    {"uid", claim_uid},
                    {"resourceVersion", Object()}}}}}}};
}

bool points_at(const Object& volume, const std::string& claim_namespace,
               const std::string& claim_name) {
  return text_at(volume, {"spec", "claimRef", "namespace"}) == claim_namespace &&
         text_at(volume, {"spec", "claimRef", "name"}) == claim_name;
}

bool is_bound_to(const Object& claim, const std::string& volume_name) {
  return text_at(claim, {"status", "phase"}) == "Bound" &&
         text_at(claim, {"spec", "volumeName"}) == volume_name;
}

// The staged PVs are pointed at the original names before the claims are touched: whoever creates a
// claim of that name then gets ours, and no provisioner acts.
Step point_volumes(Context& context) {
  for (const VolumeStatus& volume : context.status.volumes) {
    if (!volume.swaps_claim() || volume.ephemeral) continue;
    const ObservedVolume& seen = context.observed.volumes.at(volume.name);
    const std::string& ns = context.migration().namespace_name;
    if (!seen.target_volume) {
      return context.wait(current_condition(context.status), "VolumeMissing",
                          "PersistentVolume " + volume.target_volume + " is not there", 1000ms);
    }
    if (points_at(*seen.target_volume, ns, volume.claim_name)) continue;
    return context.act(point_volume(volume, volume.target_volume, ns, volume.claim_name, Object()));
  }
  return std::nullopt;
}

Step replace_claim(Context& context, const VolumeStatus& volume) {
  const ObservedVolume& seen = context.observed.volumes.at(volume.name);
  const char* type = current_condition(context.status);
  const std::string& ns = context.migration().namespace_name;
  if (!seen.claim) {
    const Object& saved = context.observed.saved_claims.at(volume.name);
    return context.act(Create{.items = {{Kind::kClaim,
                                         render::replacement_claim(saved, volume.target_volume,
                                                                   context.migration()),
                                         true}}},
                       kSoon);
  }
  if (uid_of(*seen.claim) == volume.claim_uid) {
    if (is_deleting(*seen.claim)) {
      return context.wait(type, "ClaimTerminating",
                          "waiting for the old claim " + volume.claim_name + " to go", kSoon);
    }
    return context.act(
        Delete{{{Kind::kClaim, ns, volume.claim_name, volume.claim_uid, std::nullopt}}});
  }
  if (is_bound_to(*seen.claim, volume.target_volume)) return std::nullopt;
  const std::string other = text_at(*seen.claim, {"spec", "volumeName"});
  if (!other.empty() && other != volume.target_volume) {
    return context.wait(type, "ClaimTaken",
                        "claim " + volume.claim_name + " was made by somebody else and bound to " +
                            other + ": delete that claim, and the migration goes on",
                        2000ms);
  }
  return context.wait(type, "ClaimBinding",
                      "waiting for claim " + volume.claim_name + " to be bound", kSoon);
}

Step replace_claims(Context& context) {
  for (const VolumeStatus& volume : context.status.volumes) {
    if (!volume.swaps_claim() || volume.ephemeral) continue;
    if (Step step = replace_claim(context, volume)) return step;
  }
  return std::nullopt;
}

// A generic ephemeral volume's claim belongs to the new pod: its controller makes it, and finds our
// PV.
Step bind_ephemeral_claims(Context& context, const Destination& destination) {
  const std::string& ns = context.migration().namespace_name;
  for (const VolumeStatus& volume : context.status.volumes) {
    if (!volume.swaps_claim() || !volume.ephemeral) continue;
    const ObservedVolume& seen = context.observed.volumes.at(volume.name);
    const std::string& wanted =
        destination.swap_claims ? volume.target_volume : volume.source_volume;
    const auto& pv = destination.swap_claims ? seen.target_volume : seen.source_volume;
    const std::string claim = restored_pod(context.status).pod_name + "-" + volume.name;
    const char* type = current_condition(context.status);
    if (!pv)
      return context.wait(type, "VolumeMissing", "PersistentVolume " + wanted + " is not there",
                          1000ms);
    if (!seen.claim || uid_of(*seen.claim) == volume.claim_uid) {
      return context.wait(type, "ClaimPending", "waiting for claim " + claim + " of the new pod",
                          kSoon);
    }
    if (is_bound_to(*seen.claim, wanted)) continue;
    // With the claim's UID, which makes the binder look at once.
    if (!points_at(*pv, ns, claim) ||
        text_at(*pv, {"spec", "claimRef", "uid"}) != uid_of(*seen.claim)) {
      return context.act(point_volume(volume, wanted, ns, claim, uid_of(*seen.claim)), kSoon);
    }
    return context.wait(type, "ClaimBinding", "waiting for claim " + claim + " to be bound", kSoon);
  }
  return std::nullopt;
}

bool has_ephemeral_claims(const Context& context) {
  return std::any_of(
      context.status.volumes.begin(), context.status.volumes.end(),
      [](const VolumeStatus& volume) { return volume.swaps_claim() && volume.ephemeral; });
}

// The bare pod, made by us; or the replacement that the owner made and the policy held.
Step find_pod(Context& context, const Destination& destination) {
  if (!restored_pod(context.status).pod_uid.empty()) return std::nullopt;
  const Observed& observed = context.observed;
  const char* type = current_condition(context.status);
  if (context.owned()) {
    if (observed.replacements.empty()) {
      return context.wait(type, "AwaitingReplacement",
                          "waiting for " + context.status.owner.kind + "/" +
                              context.status.owner.name + " to make the replacement",
                          kSoon);
    }
    const Object& pod = observed.replacements.front();
    set_restored_pod(context.status, name_of(pod), uid_of(pod));
    return context.again();
  }
  if (observed.other_pod) {
    if (annotation(*observed.other_pod, kLock) != context.migration().uid) {
      return context.wait(type, "NameConflict",
                          "somebody else made a pod of the same name: delete it, and the "
                          "migration goes on",
                          2000ms);
    }
    set_restored_pod(context.status, name_of(*observed.other_pod), uid_of(*observed.other_pod));
    return context.again();
  }
  return context.act(Create{
      .items = {
          {Kind::kPod,
           render::replacement_pod(context.migration(), context.settings, *observed.saved_pod,
                                   destination.node, context.needs_gate(),
                                   has_ephemeral_claims(context) || context.restores_containers()),
           true}}});
}

api::TaskRequest place_request(Context& context, api::MoverRole role) {
  api::TaskRequest request = task_request(context, role);
  std::erase_if(request.volumes, [](const api::MoverVolume& volume) {
    return !volume.empty_dir && volume.kind == api::TreeKind::kVolume;
  });
  if (context.spec().memory) request.source_pod_ip = context.status.notes[kSourcePodIp];
  request.pod_uid = restored_pod(context.status).pod_uid;
  request.source_pod_uid = context.status.source.pod_uid;
  return request;
}

// What transship-runtime is to restore is there before the pod is on any node.
Step claim(Context& context) {
  if (!context.restores_containers()) return std::nullopt;
  if (Step step = movers(context, {.receiver = true})) return step;
  const std::string& pod_uid = restored_pod(context.status).pod_uid;
  if (context.observed.receiver.state->claimed_pod == pod_uid) return std::nullopt;
  if (text_at(*context.observed.restored_pod, {"spec", "runtimeClassName"}) != kRuntimeClassName) {
    return context.wait(current_condition(context.status), "RuntimeClassMissing",
                        "pod " + restored_pod(context.status).pod_name +
                            " was made without runtimeClassName " + kRuntimeClassName +
                            " and would start without what was moved: delete it, and see whether "
                            "the admission policy " +
                            kHoldPolicy + " is in force",
                        2000ms);
  }
  const api::TaskRequest request = place_request(context, api::MoverRole::kReceiver);
  if (Step step = task(context, api::MoverRole::kReceiver, api::TaskKind::kClaim, request, kSoon))
    return step;
  // That was for a pod which has gone since.
  return context.act(RunTask{api::MoverRole::kReceiver, api::TaskKind::kClaim, request}, kSoon);
}

Step place(Context& context, const Destination& destination) {
  if (!context.places_empty_dirs()) return std::nullopt;
  const Needs needs = destination.placed_by == api::MoverRole::kSender ? Needs{.sender = true}
                                                                       : Needs{.receiver = true};
  if (Step step = movers(context, needs)) return step;
  const api::TaskRequest request = place_request(context, destination.placed_by);
  if (context.status.notes["placing"] != request.pod_uid) {
    // Written first: content that was placed lives and dies with that pod.
    context.status.notes["placing"] = request.pod_uid;
    return context.again();
  }
  return task(context, destination.placed_by, api::TaskKind::kPlace, request, kSoon);
}

// The runtime's word for each container. One whose memory could not be restored is not started by
// anybody until it is said that it may begin anew.
Step watch_restores(Context& context) {
  if (!context.restores_containers() || !context.observed.receiver.state) return std::nullopt;
  std::string failed;
  for (const api::ContainerRestore& seen : context.observed.receiver.state->restores) {
    api::ContainerStatus* container = context.status.container(seen.container);
    if (container == nullptr) continue;
    container->restore = seen.state;
    container->message = seen.message;
    if (seen.state == "Failed")
      failed += (failed.empty() ? "" : "; ") + seen.container + ": " + seen.message;
  }
  if (failed.empty()) return std::nullopt;
  if (context.spec().on_restore_failure == api::RestoreFailure::kColdStart) {
    return task(context, api::MoverRole::kReceiver, api::TaskKind::kColdStart,
                place_request(context, api::MoverRole::kReceiver), kSoon);
  }
  return context.wait(condition::kRestored, "RestoreFailed",
                      failed +
                          ". Nothing is started in its place: set spec.onRestoreFailure to "
                          "ColdStart to have it begin anew, with its layer and volumes",
                      1000ms);
}

// The pod that was brought up is gone or going before it was Ready.
Step pod_went(Context& context) {
  const char* type = current_condition(context.status);
  const api::PodPlace pod = restored_pod(context.status);
  const auto& containers = context.status.containers;
  const bool ran = std::any_of(containers.begin(), containers.end(),
                               [](const auto& each) { return each.restore == "Running"; });
  if (ran || (context.places_empty_dirs() && context.status.notes["placing"] == pod.pod_uid)) {
    return context.wait(type, "PodDeletedAfterPlacement",
                        "pod " + pod.pod_name +
                            " was deleted by somebody else after it got its emptyDirs or went on "
                            "with its memory; they may be gone with it. Its claims are safe",
                        2000ms);
  }
  set_restored_pod(context.status, "", "");
  return context.again(kSoon);
}

}  // namespace

Step bring_up(Context& context, const Destination& destination) {
  if (destination.swap_claims) {
    if (Step step = point_volumes(context)) return step;
  }
  if (Step step = remove_source_pod(context)) return step;
  if (destination.swap_claims) {
    if (Step step = replace_claims(context)) return step;
  }
  if (Step step = find_pod(context, destination)) return step;
  if (!context.observed.restored_pod || is_deleting(*context.observed.restored_pod))
    return pod_went(context);
  const Object& pod = *context.observed.restored_pod;
  if (Step step = bind_ephemeral_claims(context, destination)) return step;
  if (Step step = claim(context)) return step;
  if (has_scheduling_gate(pod, kSchedulingGate)) {
    return context.act(Patch{Kind::kPod, context.migration().namespace_name, name_of(pod),
                             render::release_to_node(pod, destination.node)});
  }
  const std::string node = text_at(pod, {"spec", "nodeName"});
  if (!node.empty() && node != destination.node) {
    return context.wait(current_condition(context.status), "WrongNode",
                        "pod " + name_of(pod) + " was bound to node " + node + " by somebody else",
                        2000ms);
  }
  if (Step step = place(context, destination)) return step;
  if (Step step = watch_restores(context)) return step;
  if (pod_is_ready(pod)) return std::nullopt;
  const std::string why = waiting_message(pod) + unschedulable_message(pod);
  return context.wait(
      current_condition(context.status), "PodNotReady",
      "waiting for pod " + name_of(pod) + " to be Ready" + (why.empty() ? "" : ": " + why), kSoon);
}

Step restore(Context& context) {
  if (context.owned()) {
    if (Step step = hold(context)) return step;
  }
  if (!context.graceful()) {
    if (Step step = frozen_source_is_dead(context)) return step;
  }
  if (Step step = bring_up(context, {context.status.target.node, api::MoverRole::kReceiver, true}))
    return step;
  context.status.restored_time = format_micros(context.now);
  context.status.downtime_seconds = seconds_since(context.status.stop_requested_time, context.now);
  context.done(api::condition::kRestored, "PodReady",
               "pod " + restored_pod(context.status).pod_name + " is Ready on node " +
                   context.status.target.node);
  return context.again();
}

}  // namespace transship::controller
