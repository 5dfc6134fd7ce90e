#include "controller/observe.h"

#include <algorithm>

#include "controller/base64.h"
#include "controller/names.h"
#include "controller/preflight.h"
#include "controller/render/render.h"
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

// Whether what the attempt made is being taken away, so that all of it has to be known.
bool cleans_up(const api::Migration& migration) {
  const api::MigrationStatus& status = migration.status;
  const bool nothing_to_bring_back = status.stop_requested_time.empty();
  return is_finished(status) || status.is_true(condition::kRestored) || migration.spec.dry_run ||
         (status.rollback && (nothing_to_bring_back || status.notes.count("sourceIsBack") != 0));
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

std::string loss_of_pod(const Object& job, const std::optional<Object>& pod) {
  for (const Object& item : list_at(job, {"status", "conditions"})) {
    const std::string type = text_at(item, {"type"});
    if ((type == "Failed" || type == "Complete") && text_at(item, {"status"}) == "True") {
      return "its Job has ended: " + text_at(item, {"reason"}) + " " + text_at(item, {"message"});
    }
  }
  if (!pod || !pod_is_finished(*pod)) return "";
  std::string why = "its pod has ended: " + text_at(*pod, {"status", "phase"}) + " " +
                    text_at(*pod, {"status", "reason"});
  for (const Object& status : list_at(*pod, {"status", "containerStatuses"})) {
    const std::string message = text_at(status, {"state", "terminated", "message"});
    if (!message.empty())
      why += ": " + message.substr(message.size() > 1024 ? message.size() - 1024 : 0);
  }
  return why;
}

}  // namespace

// A child that is not this migration's (a foreign object of the same name) counts as not there: it
// is never used and never deleted, and creating ours fails on it with its name.
#define READ_CHILD(into, kind, name)                             \
  do {                                                           \
    READ(into, kind, settings_.operator_namespace, name);        \
    if ((into) && !is_child(*(into), migration)) (into).reset(); \
  } while (false)

#define READ(into, ...)                    \
  do {                                     \
    auto got_ = cluster_.get(__VA_ARGS__); \
    if (!got_.ok()) return got_.error();   \
    (into) = std::move(got_).value();      \
  } while (false)

Status Observer::read_pods(Observed& observed) {
  const api::Migration& migration = observed.migration;
  std::optional<Object> pod;
  READ(pod, Kind::kPod, migration.namespace_name, pod_name_of(migration));
  if (pod) {
    const std::string pinned = pod_uid_of(migration);
    const bool ours = pinned.empty() || uid_of(*pod) == pinned;
    (ours ? observed.source_pod : observed.other_pod) = std::move(pod);
  }
  const api::PodPlace restored = restored_pod(migration.status);
  if (!restored.pod_uid.empty()) {
    READ(pod, Kind::kPod, migration.namespace_name, restored.pod_name);
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
  READ(observed.owner_object, owner.kind == "StatefulSet" ? Kind::kStatefulSet : Kind::kReplicaSet,
       ns, owner.name);
  if (owner.kind == "ReplicaSet" && observed.owner_object) {
    const Object& above = controller_owner(*observed.owner_object);
    if (text_at(above, {"kind"}) == "Deployment") {
      READ(observed.owner_deployment, Kind::kDeployment, ns, text_at(above, {"name"}));
    }
  }
  std::optional<Object> policy;
  READ(policy, Kind::kMutatingPolicy, "", kHoldPolicy);
  observed.hold_policy = policy.has_value();

  const Object& selected = observed.owner_deployment ? *observed.owner_deployment
                           : observed.owner_object   ? *observed.owner_object
                                                     : Object();
  const std::string selector = selector_text(at(selected, {"spec", "selector", "matchLabels"}));
  if (selector.empty() || migration.status.stop_requested_time.empty()) return {};
  // A replacement is read again by its name, with its UID, before it is used.
  auto pods = cluster_.list(Kind::kPod, ns, selector,
                            cleans_up(migration) ? Freshness::kLatest : Freshness::kCached);
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

Status Observer::read_nodes(Observed& observed) {
  const api::MigrationStatus& status = observed.migration.status;
  std::string source = status.source.node;
  if (source.empty() && observed.source_pod)
    source = text_at(*observed.source_pod, {"spec", "nodeName"});
  const std::string target =
      status.target.node.empty() ? observed.migration.spec.target_node : status.target.node;
  if (!source.empty()) READ(observed.source_node, Kind::kNode, "", source);
  if (!target.empty()) READ(observed.target_node, Kind::kNode, "", target);
  return {};
}

Status Observer::read_volume(Observed& observed, const api::VolumeStatus& volume) {
  const api::Migration& migration = observed.migration;
  ObservedVolume& seen = observed.volumes[volume.name];
  READ(seen.claim, Kind::kClaim, migration.namespace_name, claim_of(observed, volume));
  std::string source = volume.source_volume;
  if (source.empty() && seen.claim) source = text_at(*seen.claim, {"spec", "volumeName"});
  if (!source.empty()) READ(seen.source_volume, Kind::kVolume, "", source);
  if (!volume.target_volume.empty())
    READ(seen.target_volume, Kind::kVolume, "", volume.target_volume);
  if (migration.status.is_true(condition::kValidated) && stages(migration.status)) {
    READ_CHILD(seen.staging_claim, Kind::kClaim, staging_claim_name(migration, volume.name));
  }
  if (migration.status.is_true(condition::kValidated) || !seen.claim) return {};

  const std::string& wanted = migration.spec.target_storage_class;
  const std::string storage_class =
      wanted.empty() ? text_at(*seen.claim, {"spec", "storageClassName"}) : wanted;
  if (!storage_class.empty()) READ(seen.storage_class, Kind::kStorageClass, "", storage_class);
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

// Secrets of ours are immutable, so each is read once.
Result<std::optional<Object>> Observer::secret(const api::Migration& migration,
                                               const std::string& name) {
  {
    MutexLock lock(mutex_);
    if (const auto found = secrets_.find(name); found != secrets_.end())
      return std::optional<Object>(found->second);
  }
  std::optional<Object> read;
  READ_CHILD(read, Kind::kSecret, name);
  if (read) {
    MutexLock lock(mutex_);
    secrets_[name] = *read;
  }
  return read;
}

Status Observer::read_children(Observed& observed) {
  const api::Migration& migration = observed.migration;
  const api::MigrationStatus& status = migration.status;
  const std::string ours = std::string(kMigrationUid) + "=" + migration.uid;
  if (cleans_up(migration)) {
    for (const Kind kind : {Kind::kJob, Kind::kPod, Kind::kSecret, Kind::kClaim}) {
      auto found = cluster_.list(kind, settings_.operator_namespace, ours, Freshness::kLatest);
      if (!found.ok()) return found.error();
      for (Object& object : *found) observed.children.emplace_back(kind, std::move(object));
    }
  }
  READ_CHILD(observed.reservation, Kind::kPod, reservation_name(migration));
  READ_CHILD(observed.sender.job, Kind::kJob,
             mover_job_name(migration, api::MoverRole::kSender, status.epoch));
  READ_CHILD(observed.receiver.job, Kind::kJob,
             mover_job_name(migration, api::MoverRole::kReceiver, status.epoch));
  if (observed.sender.job || observed.receiver.job) TRANSSHIP_TRY(read_mover_pods(observed));
  return read_secrets(observed);
}

// Which pod a Job has made can only be found by a list. An old answer is only late: who is behind
// an address is proven by its certificate, and a pod that has ended does not run again.
Status Observer::read_mover_pods(Observed& observed) {
  const api::Migration& migration = observed.migration;
  auto pods = cluster_.list(Kind::kPod, settings_.operator_namespace,
                            std::string(kMigrationUid) + "=" + migration.uid, Freshness::kCached);
  if (!pods.ok()) return pods.error();
  for (const Object& pod : *pods) {
    const std::string job = text_at(pod, {"metadata", "labels", "job-name"});
    for (ObservedMover* mover : {&observed.sender, &observed.receiver}) {
      if (mover->job && name_of(*mover->job) == job) mover->pod = pod;
    }
  }
  return {};
}

Status Observer::read_secrets(Observed& observed) {
  const api::Migration& migration = observed.migration;
  auto tls = secret(migration, tls_secret_name(migration, migration.status.epoch));
  if (!tls.ok()) return tls.error();
  observed.tls_secret = tls->has_value();
  auto saved = secret(migration, pod_secret_name(migration));
  if (!saved.ok()) return saved.error();
  if (!*saved) return {};
  const auto pod =
      Object::parse(base64_decode(text_at(**saved, {"data", "pod.json"})), nullptr, false);
  const auto claims =
      Object::parse(base64_decode(text_at(**saved, {"data", "claims.json"})), nullptr, false);
  if (!pod.is_object() || !claims.is_object()) {
    return Error{ErrorCode::kCorrupt,
                 "secret " + pod_secret_name(migration) + " is not as this migration made it"};
  }
  observed.saved_pod = pod;
  for (const auto& [name, claim] : claims.items()) observed.saved_claims[name] = claim;
  return {};
}

Result<MoverAddress> Observer::address_of(const api::Migration& migration, api::MoverRole role,
                                          const std::string& host) {
  auto tls = secret(migration, tls_secret_name(migration, migration.status.epoch));
  if (!tls.ok()) return tls.error();
  if (!*tls) return Error{ErrorCode::kNotFound, "the migration's TLS secret is not there yet"};
  const auto data = [&](const char* key) { return base64_decode(text_at(**tls, {"data", key})); };
  return MoverAddress{host,
                      migration.uid,
                      role,
                      migration.status.epoch,
                      data("ca.crt"),
                      data("controller.crt"),
                      data("controller.key")};
}

Status Observer::read_mover(Observed& observed, api::MoverRole role,
                            std::chrono::steady_clock::time_point now) {
  const api::Migration& migration = observed.migration;
  ObservedMover& mover = role == api::MoverRole::kSender ? observed.sender : observed.receiver;
  if (!mover.job) return {};
  mover.lost = loss_of_pod(*mover.job, mover.pod);
  if (mover.pod) mover.address = text_at(*mover.pod, {"status", "podIP"});
  if (mover.address.empty() || !mover.lost.empty() || is_deleting(*mover.job)) return {};
  auto address = address_of(migration, role, mover.address);
  if (!address.ok()) return {};
  auto state = movers_.state(*address);
  const std::string name = api::mover_name(migration.uid, role, migration.status.epoch);
  MutexLock lock(mutex_);
  if (state.ok()) {
    mover.state = std::move(state).value();
    heard_[name] = now;
  } else {
    const auto heard = heard_.try_emplace(name, now).first;
    mover.silent_seconds = std::chrono::duration<double>(now - heard->second).count();
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
  observed.hold_in_force = has_scheduling_gate(*held, kSchedulingGate) && gated;
  return {};
}

#undef READ
#undef READ_CHILD

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
  TRANSSHIP_TRY(read_nodes(observed));
  TRANSSHIP_TRY(read_volumes(observed));
  TRANSSHIP_TRY(read_children(observed));
  if (!status.is_true(condition::kPrepared)) TRANSSHIP_TRY(read_rivals(observed));
  for (const api::MoverRole role : {api::MoverRole::kSender, api::MoverRole::kReceiver}) {
    TRANSSHIP_TRY(read_mover(observed, role, now));
  }
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
