#include "kube/leader_election.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/log.h"

namespace transship::kube {

namespace {

void really_wait(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait_for(lock, stop, time, [] { return false; });
}

LeaderElectionOptions complete(LeaderElectionOptions options) {
  if (!options.wait) options.wait = really_wait;
  return options;
}

// A string of the Lease's spec; empty where it is missing.
std::string spec_string(const Json& lease, const char* field) {
  const auto spec = lease.find("spec");
  if (spec == lease.end() || !spec->is_object()) return {};
  const auto value = spec->find(field);
  return value != spec->end() && value->is_string() ? value->get<std::string>() : std::string();
}

long spec_number(const Json& lease, const char* field) {
  const auto spec = lease.find("spec");
  if (spec == lease.end() || !spec->is_object()) return 0;
  const auto value = spec->find(field);
  return value != spec->end() && value->is_number_integer() ? value->get<long>() : 0;
}

}  // namespace

LeaderElection::LeaderElection(Client& client, LeaderElectionOptions options)
    : client_(client),
      options_(complete(std::move(options))),
      observed_(nullptr),
      random_(std::random_device{}()) {}

LeaderElection::End LeaderElection::run(const std::stop_token& stop, const Callbacks& callbacks) {
  callbacks_ = &callbacks;
  if (!acquire(stop)) return End::kStopped;
  log::info("became the leader", {{"lease", options_.name}, {"identity", options_.identity}});
  callbacks.on_started_leading();
  const End end = renew(stop);
  // A stopped leader holds on to the Lease until its work has ended, a lost one has none.
  if (end == End::kLost) set_held(std::nullopt);
  callbacks.on_stopped_leading();
  set_held(std::nullopt);
  if (end == End::kStopped) release();
  log::info("stopped leading", {{"lease", options_.name}, {"identity", options_.identity}});
  return end;
}

bool LeaderElection::is_leader() const {
  MutexLock lock(mutex_);
  return renewed_ && options_.now() < *renewed_ + options_.renew_deadline;
}

bool LeaderElection::acquire(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (try_acquire_or_renew().ok()) return true;
    // Jittered, so that candidates that began together do not ask together.
    std::uniform_real_distribution<double> factor(1.0, 2.2);
    options_.wait(stop, std::chrono::duration_cast<std::chrono::milliseconds>(
                            options_.retry_period * factor(random_)));
  }
  return false;
}

LeaderElection::End LeaderElection::renew(const std::stop_token& stop) {
  while (true) {
    options_.wait(stop, options_.retry_period);
    if (stop.stop_requested()) return End::kStopped;
    if (try_acquire_or_renew().ok()) continue;
    const bool other_holds = !observed_.is_null() && holder() != options_.identity;
    if (other_holds || !is_leader()) {
      log::error("lost the leadership", {{"lease", options_.name},
                                         {"identity", options_.identity},
                                         {"holder", holder()},
                                         {"error", last_error_}});
      return End::kLost;
    }
  }
}

Status LeaderElection::try_acquire_or_renew() {
  const Instant asked = options_.now();
  Status done = [&]() -> Status {
    Result<Json> found = client_.get(kLeases, options_.ns, options_.name);
    if (!found.ok() && found.error().code == ErrorCode::kNotFound) return create_lease(asked);
    if (!found.ok()) return found.error();
    observe(std::move(found).value());
    const bool ours = holder() == options_.identity;
    // A leader that finds anyone else there, or nobody, was deposed: it must not go on as if not.
    if (!ours && (leading() || (!holder().empty() && !expired(options_.now())))) {
      return Error{ErrorCode::kPreconditionFailed, "the lease is held by \"" + holder() + "\""};
    }
    return update_lease(asked);
  }();
  report_leader();
  const std::string error = done.ok() ? std::string() : done.error().message;
  if (error != last_error_ && !error.empty()) {
    log::info("lease not acquired", {{"lease", options_.name}, {"error", error}});
  }
  last_error_ = error;
  return done;
}

Status LeaderElection::create_lease(Instant asked) {
  observed_ = nullptr;
  const Json lease = {{"metadata", {{"name", options_.name}, {"namespace", options_.ns}}},
                      {"spec", held_spec()}};
  Result<Json> created = client_.create(kLeases, options_.ns, lease);
  if (!created.ok()) return created.error();
  observe(std::move(created).value());
  set_held(asked);
  return {};
}

Status LeaderElection::update_lease(Instant asked) {
  Json lease = observed_;  // with its resourceVersion: someone else's write makes this a conflict
  lease["spec"] = held_spec();
  Result<Json> updated = client_.update(kLeases, options_.ns, std::move(lease));
  if (!updated.ok()) return updated.error();
  observe(std::move(updated).value());
  set_held(asked);
  return {};
}

void LeaderElection::release() {
  // Read first: the last write may have arrived although its answer did not.
  Result<Json> found = client_.get(kLeases, options_.ns, options_.name);
  if (!found.ok()) return;
  observe(std::move(found).value());
  if (holder() != options_.identity) return;
  Json lease = observed_;
  lease["spec"]["holderIdentity"] = "";
  lease["spec"]["leaseDurationSeconds"] = 1;
  lease["spec"]["renewTime"] = format_micros(options_.wall_now());
  const Result<Json> released = client_.update(kLeases, options_.ns, std::move(lease));
  if (!released.ok()) {
    log::warning("lease not released, others wait until it expires",
                 {{"lease", options_.name}, {"error", released.error().message}});
  }
}

bool LeaderElection::expired(Instant now) const {
  std::chrono::seconds duration(spec_number(observed_, "leaseDurationSeconds"));
  if (duration.count() <= 0) duration = options_.lease_duration;
  return observed_at_ + duration <= now;
}

Json LeaderElection::held_spec() const {
  const std::string now = format_micros(options_.wall_now());
  const bool renewal = !observed_.is_null() && holder() == options_.identity;
  const long transitions = spec_number(observed_, "leaseTransitions");
  const std::string acquired = renewal ? spec_string(observed_, "acquireTime") : std::string();
  const bool other_before = !observed_.is_null() && !renewal;
  Json spec = observed_.is_null() ? Json::object() : observed_.value("spec", Json::object());
  spec["holderIdentity"] = options_.identity;
  spec["leaseDurationSeconds"] = options_.lease_duration.count();
  spec["acquireTime"] = acquired.empty() ? now : acquired;
  spec["renewTime"] = now;
  spec["leaseTransitions"] = other_before ? transitions + 1 : transitions;
  return spec;
}

void LeaderElection::observe(Json lease) {
  const Json none;
  const Json& before = observed_.is_null() ? none : observed_["spec"];
  if (observed_.is_null() || before != lease["spec"]) observed_at_ = options_.now();
  observed_ = std::move(lease);
}

void LeaderElection::report_leader() {
  const std::string leader = observed_.is_null() ? std::string() : holder();
  if (leader == reported_leader_) return;
  reported_leader_ = leader;
  if (leader.empty()) return;
  if (leader != options_.identity) {
    log::info("another process leads", {{"lease", options_.name}, {"identity", leader}});
  }
  if (callbacks_->on_new_leader) callbacks_->on_new_leader(leader);
}

void LeaderElection::set_held(std::optional<Instant> renewed) {
  MutexLock lock(mutex_);
  renewed_ = renewed;
}

bool LeaderElection::leading() const {
  MutexLock lock(mutex_);
  return renewed_.has_value();
}

std::string LeaderElection::holder() const { return spec_string(observed_, "holderIdentity"); }

}  // namespace transship::kube
