#include "controller/observe.h"

#include <algorithm>

#include "controller/names.h"
#include "controller/preflight.h"
#include "controller/render/render.h"
#include "controller/runtime_nodes.h"
#include "controller/status.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;

std::string note(const api::MigrationStatus& status, const char* key) {
  const auto found = status.notes.find(key);
  return found == status.notes.end() ? "" : found->second;
}

// Whether staging claims can be there: made in Prepare, gone at its end.
bool stages(const api::MigrationStatus& status) {
  return !status.is_true(condition::kPrepared) || status.rollback;
}

std::string pod_name_of(const api::Migration& migration) {
  if (!migration.status.source.pod_name.empty()) return migration.status.source.pod_name;
  const std::string retried = note(migration.status, "podName");
  return retried.empty() ? migration.spec.pod_name : retried;
}

// The UID that the source pod must have; empty: not pinned yet.
std::string pod_uid_of(const api::Migration& migration) {
  if (!migration.status.source.pod_uid.empty()) return migration.status.source.pod_uid;
  const std::string retried = note(migration.status, "podUID");
  return retried.empty() ? migration.spec.pod_uid : retried;
}

std::string selector_text(const Object& labels) {
  std::string out;
  if (!labels.is_object()) return out;
  for (const auto& [key, value] : labels.items()) {
    out += (out.empty() ? "" : ",") + key + "=" + value.get<std::string>();
  }
  return out;
}

// Newest first: in the middle of a rollout the newest ReplicaSet's pod is the one that will stay.
void sort_newest_first(std::vector<Object>& pods) {
  std::stable_sort(pods.begin(), pods.end(), [](const Object& a, const Object& b) {
    return text_at(a, {"metadata", "creationTimestamp"}) >
           text_at(b, {"metadata", "creationTimestamp"});
  });
}

std::string claim_of(const Observed& observed, const api::VolumeStatus& volume) {
  const std::string pod = restored_pod(observed.migration.status).pod_name;
  if (volume.ephemeral && !pod.empty()) return pod + "-" + volume.name;
  return volume.claim_name;
}

bool uses_claim(const Object& pod, const std::string& claim) {
  for (const Object& volume : list_at(pod, {"spec", "volumes"})) {
    if (text_at(volume, {"persistentVolumeClaim", "claimName"}) == claim) return true;
  }
  return false;
}

}  // namespace

Status Observer::read(std::optional<Object>& into, Kind kind, const std::string& namespace_name,
                      const std::string& name) {
  auto got = cluster_.get(kind, namespace_name, name);
  if (!got.ok()) return got.error();
  into = std::move(got).value();
  return {};
}

Status Observer::read_pods(Observed& observed) {
  const api::Migration& migration = observed.migration;
  std::optional<Object> pod;
  TRANSSHIP_TRY(read(pod, Kind::kPod, migration.namespace_name, pod_name_of(migration)));
  if (pod) {
    const std::string pinned = pod_uid_of(migration);
    const bool ours = pinned.empty() || uid_of(*pod) == pinned;
    (ours ? observed.source_pod : observed.other_pod) = std::move(pod);
  }
  const api::PodPlace restored = restored_pod(migration.status);
  if (!restored.pod_uid.empty()) {
    TRANSSHIP_TRY(read(pod, Kind::kPod, migration.namespace_name, restored.pod_name));
    if (pod && uid_of(*pod) == restored.pod_uid) observed.restored_pod = std::move(pod);
  }
  return {};
}

Status Observer::read_owner(Observed& observed) {
  const api::Migration& migration = observed.migration;
  api::Owner owner = migration.status.owner;
  if (owner.kind.empty() && observed.source_pod) {
    const Object& reference = controller_owner(*observed.source_pod);
    owner = {text_at(reference, {"kind"}), text_at(reference, {"name"}),
             text_at(reference, {"uid"})};
  }
  if (owner.kind != "StatefulSet" && owner.kind != "ReplicaSet") return {};
  const std::string& ns = migration.namespace_name;
  TRANSSHIP_TRY(read(observed.owner_object,
                     owner.kind == "StatefulSet" ? Kind::kStatefulSet : Kind::kReplicaSet, ns,
                     owner.name));
  if (owner.kind == "ReplicaSet" && observed.owner_object) {
    const Object& above = controller_owner(*observed.owner_object);
    if (text_at(above, {"kind"}) == "Deployment") {
      TRANSSHIP_TRY(
          read(observed.owner_deployment, Kind::kDeployment, ns, text_at(above, {"name"})));
    }
  }
  std::optional<Object> policy;
  TRANSSHIP_TRY(read(policy, Kind::kMutatingPolicy, "", kHoldPolicy));
  observed.hold_policy = policy.has_value();

  const Object& selected = observed.owner_deployment ? *observed.owner_deployment
                           : observed.owner_object   ? *observed.owner_object
                                                     : Object();
  const std::string selector = selector_text(at(selected, {"spec", "selector", "matchLabels"}));
  if (selector.empty() || migration.status.stop_requested_time.empty()) return {};
  // A replacement is read again by its name, with its UID, before it is used.
  auto pods = cluster_.list(
      Kind::kPod, ns, selector,
      cleans_up(migration.status, migration.spec) ? Freshness::kLatest : Freshness::kCached);
  if (!pods) return pods.error();
  for (Object& pod : *pods) {
    const Object& reference = controller_owner(pod);
    const bool mine = owner.kind == "StatefulSet"
                          ? text_at(reference, {"uid"}) == owner.uid &&
                                name_of(pod) == migration.status.source.pod_name
                          : text_at(reference, {"kind"}) == "ReplicaSet";
    if (mine && !is_deleting(pod) && uid_of(pod) != migration.status.source.pod_uid &&
        has_scheduling_gate(pod, kSchedulingGate)) {
      observed.replacements.push_back(std::move(pod));
    }
  }
  sort_newest_first(observed.replacements);
  return {};
}

Status Observer::read_runtime(Observed& observed) {
  const api::Migration& migration = observed.migration;
  if (!migration.spec.layer || migration.status.is_true(condition::kPrepared)) return {};
  // A pod that stopped being ready a moment ago could as well do so a moment later.
  auto pods =
      cluster_.list(Kind::kPod, settings_.operator_namespace, kRuntimePods, Freshness::kCached);
  if (!pods) return pods.error();
  observed.runtime_pods = std::move(*pods);
  if (migration.status.is_true(condition::kValidated)) return {};
  std::optional<Object> runtime_class;
  TRANSSHIP_TRY(read(runtime_class, Kind::kRuntimeClass, "", kRuntimeClassName));
  observed.runtime_class = runtime_class.has_value();
  return {};
}

Status Observer::read_nodes(Observed& observed) {
  const api::MigrationStatus& status = observed.migration.status;
  std::string source = status.source.node;
  if (source.empty() && observed.source_pod)
    source = text_at(*observed.source_pod, {"spec", "nodeName"});
  const std::string target =
      status.target.node.empty() ? observed.migration.spec.target_node : status.target.node;
  if (!source.empty()) TRANSSHIP_TRY(read(observed.source_node, Kind::kNode, "", source));
  if (!target.empty()) TRANSSHIP_TRY(read(observed.target_node, Kind::kNode, "", target));
  return {};
}

Status Observer::read_volume(Observed& observed, const api::VolumeStatus& volume) {
  const api::Migration& migration = observed.migration;
  ObservedVolume& seen = observed.volumes[volume.name];
  TRANSSHIP_TRY(
      read(seen.claim, Kind::kClaim, migration.namespace_name, claim_of(observed, volume)));
  std::string source = volume.source_volume;
  if (source.empty() && seen.claim) source = text_at(*seen.claim, {"spec", "volumeName"});
  if (!source.empty()) TRANSSHIP_TRY(read(seen.source_volume, Kind::kVolume, "", source));
  if (!volume.target_volume.empty())
    TRANSSHIP_TRY(read(seen.target_volume, Kind::kVolume, "", volume.target_volume));
  if (migration.status.is_true(condition::kValidated) && stages(migration.status)) {
    TRANSSHIP_TRY(read_child(seen.staging_claim, migration, Kind::kClaim,
                             staging_claim_name(migration, volume.name)));
  }
  if (migration.status.is_true(condition::kValidated) || !seen.claim) return {};

  const std::string& wanted = migration.spec.target_storage_class;
  const std::string storage_class =
      wanted.empty() ? text_at(*seen.claim, {"spec", "storageClassName"}) : wanted;
  if (!storage_class.empty())
    TRANSSHIP_TRY(read(seen.storage_class, Kind::kStorageClass, "", storage_class));
  // A report for the user: a pod that is made a moment later is not seen either.
  auto pods = cluster_.list(Kind::kPod, migration.namespace_name, "", Freshness::kCached);
  if (!pods) return pods.error();
  for (const Object& pod : *pods) {
    const bool other = !observed.source_pod || uid_of(pod) != uid_of(*observed.source_pod);
    if (other && !pod_is_finished(pod) && uses_claim(pod, volume.claim_name))
      seen.other_pods.push_back(name_of(pod));
  }
  return {};
}

Status Observer::read_volumes(Observed& observed) {
  std::vector<api::VolumeStatus> volumes = observed.migration.status.volumes;
  if (volumes.empty() && observed.source_pod)
    volumes = plan_volumes(*observed.source_pod, observed.migration.spec);
  for (const api::VolumeStatus& volume : volumes) {
    if (volume.claim_name.empty()) continue;
    TRANSSHIP_TRY(read_volume(observed, volume));
  }
  return {};
}

// Another migration of the same pod goes first if it has begun, or else if it is older. It is the
// lock on the pod that keeps two apart: only where that is held is the answer one to act on.
Status Observer::read_rivals(Observed& observed) {
  const api::Migration& migration = observed.migration;
  const std::string holder =
      observed.source_pod ? annotation(*observed.source_pod, kLock) : std::string();
  const bool held = !holder.empty() && holder != migration.uid;
  if (!held && migration.status.is_true(condition::kValidated)) return {};
  auto all = cluster_.list(Kind::kMigration, migration.namespace_name, "",
                           held ? Freshness::kLatest : Freshness::kCached);
  if (!all) return all.error();
  for (const Object& object : *all) {
    auto other = api::parse_migration(object);
    if (!other || other->uid == migration.uid || other->spec.pod_name != migration.spec.pod_name)
      continue;
    if (is_finished(other->status)) continue;
    const bool begun = other->status.is_true(condition::kValidated);
    const bool older = std::tie(other->creation_time, other->uid) <
                       std::tie(migration.creation_time, migration.uid);
    if (begun || (older && !other->spec.suspend)) observed.rival = other->name;
  }
  return {};
}

Status Observer::probe_hold(Observed& observed) {
  const std::optional<Object>& pod = observed.source_pod ? observed.source_pod : observed.saved_pod;
  if (!pod) return {};
  auto held = cluster_.create(Kind::kPod, render::hold_probe(observed.migration, *pod), true);
  if (!held) return held.error().during("dry-run create of a replacement");
  const auto& hold = *observed.migration.status.hold;
  const Object& init = list_at(*held, {"spec", "initContainers"});
  const bool gated =
      hold.gate_image.empty() || (!init.empty() && text_at(init.front(), {"name"}) == kGate);
  const bool restored = hold.runtime_class.empty() ||
                        text_at(*held, {"spec", "runtimeClassName"}) == hold.runtime_class;
  observed.hold_in_force = has_scheduling_gate(*held, kSchedulingGate) && gated && restored;
  return {};
}

Result<std::optional<Observed>> Observer::observe(const std::string& namespace_name,
                                                  const std::string& name,
                                                  std::chrono::steady_clock::time_point now) {
  auto object = cluster_.get(Kind::kMigration, namespace_name, name);
  if (!object) return object.error();
  if (!*object) return std::optional<Observed>();
  auto migration = api::parse_migration(**object);
  if (!migration) return migration.error();
  Observed observed;
  observed.migration = std::move(migration).value();
  const api::MigrationStatus& status = observed.migration.status;
  const auto& finalizers = observed.migration.finalizers;
  const bool nothing_left = is_finished(status) && std::find(finalizers.begin(), finalizers.end(),
                                                             kFinalizer) == finalizers.end();
  if (nothing_left || status.attempts == 0) return std::optional<Observed>(std::move(observed));

  TRANSSHIP_TRY(read_pods(observed));
  TRANSSHIP_TRY(read_owner(observed));
  TRANSSHIP_TRY(read_runtime(observed));
  TRANSSHIP_TRY(read_volumes(observed));
  TRANSSHIP_TRY(read_children(observed));
  if (!status.is_true(condition::kPrepared)) TRANSSHIP_TRY(read_rivals(observed));
  for (const api::MoverRole role : {api::MoverRole::kSender, api::MoverRole::kReceiver}) {
    TRANSSHIP_TRY(read_mover(observed, role, now));
  }
  // A pod is waited for by then, and movers that answer need no node to be looked at.
  const bool movers_answer = observed.sender.state && observed.receiver.state;
  if (!is_committed(status) || !movers_answer) TRANSSHIP_TRY(read_nodes(observed));
  const bool holding = status.hold && !is_finished(status) && !status.is_true(condition::kRestored);
  const bool probing =
      holding &&
      (status.stop_requested_time.empty() ||
       (is_committed(status) && observed.source_pod && !is_deleting(*observed.source_pod)));
  if (probing) {
    TRANSSHIP_TRY(probe_hold(observed));
  } else if (holding) {
    observed.hold_in_force = true;  // seen before the pod was deleted
  }
  return std::optional<Observed>(std::move(observed));
}

void Observer::forget(const std::string& migration_uid) {
  MutexLock lock(mutex_);
  std::erase_if(heard_, [&](const auto& item) { return item.first.rfind(migration_uid, 0) == 0; });
  std::erase_if(secrets_, [&](const auto& item) {
    return item.first.find(migration_uid) != std::string::npos;
  });
}

}  // namespace transship::controller
