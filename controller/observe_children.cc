// Observer's part for what a migration has made in the operator's namespace, and for its movers.
#include "controller/base64.h"
#include "controller/names.h"
#include "controller/observe.h"
#include "controller/status.h"

namespace transship::controller {
namespace {

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

Status Observer::read_child(std::optional<Object>& into, const api::Migration& migration, Kind kind,
                            const std::string& name) {
  TRANSSHIP_TRY(read(into, kind, settings_.operator_namespace, name));
  if (into && !is_child(*into, migration)) into.reset();
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
  TRANSSHIP_TRY(read_child(read, migration, Kind::kSecret, name));
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
  if (cleans_up(migration.status, migration.spec)) {
    for (const Kind kind : {Kind::kJob, Kind::kPod, Kind::kSecret, Kind::kClaim}) {
      auto found = cluster_.list(kind, settings_.operator_namespace, ours, Freshness::kLatest);
      if (!found.ok()) return found.error();
      for (Object& object : *found) observed.children.emplace_back(kind, std::move(object));
    }
  }
  if (!status.is_true(api::condition::kPrepared) || status.rollback) {
    TRANSSHIP_TRY(
        read_child(observed.reservation, migration, Kind::kPod, reservation_name(migration)));
  }
  TRANSSHIP_TRY(read_child(observed.sender.job, migration, Kind::kJob,
                           mover_job_name(migration, api::MoverRole::kSender, status.epoch)));
  TRANSSHIP_TRY(read_child(observed.receiver.job, migration, Kind::kJob,
                           mover_job_name(migration, api::MoverRole::kReceiver, status.epoch)));
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

}  // namespace transship::controller
