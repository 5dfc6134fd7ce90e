// World's movers.
#include "controller/names.h"
#include "controller/objects.h"
#include "controller/status.h"
#include "tests/scenarios/world.h"

namespace transship::testing {

using namespace controller;  // NOLINT: this is their counterpart

void World::crash_mover(api::MoverRole role) {
  for (auto& [key, pod] : objects_[Kind::kPod]) {
    if (text_at(pod, {"metadata", "labels", kRole}) == to_string(role))
      pod["status"]["phase"] = "Failed";
  }
  std::erase_if(movers_, [&](const auto& item) {
    return item.first.find("." + std::string(to_string(role)) + ".") != std::string::npos;
  });
}

void World::fail_receive(const std::string& message) {
  for (auto& [name, mover] : movers_) {
    const auto receive = mover.tasks.find(api::TaskKind::kReceive);
    if (receive == mover.tasks.end()) continue;
    receive->second.state.phase = api::TaskPhase::kFailed;
    receive->second.state.message = message;
  }
}

Result<api::MoverState> World::state(const MoverAddress& address) {
  const std::string node = address.host.substr(0, address.host.find('/'));
  if (down_.count(node) != 0) return Error{ErrorCode::kUnavailable, "no route to " + node};
  const std::string name = api::mover_name(address.migration_uid, address.role, address.epoch);
  Mover& mover = movers_[name];
  mover.node = node;
  api::MoverState out;
  out.migration_uid = address.migration_uid;
  out.role = address.role;
  out.epoch = address.epoch;
  out.node_name = node;
  if (!mover.seen_pod.empty()) {
    out.source_processes = frozen_.count(mover.seen_pod) != 0  ? api::SourceProcesses::kFrozen
                           : alive_.count(mover.seen_pod) != 0 ? api::SourceProcesses::kRunning
                                                               : api::SourceProcesses::kNone;
  }
  for (const auto& [kind, task] : mover.tasks) out.tasks[kind] = task.state;
  for (const Object& pod : all(Kind::kPod)) {
    if (address.role != api::MoverRole::kReceiver || claimed_ != uid_of(pod)) continue;
    out.claimed_pod = claimed_;
    const std::string restore = restore_state(pod);
    out.restores.push_back({"db", restore, restore == "Failed" ? restore_problem : ""});
  }
  return out;
}

std::string World::place_of(const Mover& mover, const api::MoverVolume& volume,
                            const api::TaskRequest& request, bool staged) {
  if (!volume.empty_dir && volume.kind == api::TreeKind::kVolume)
    return mover.node + ":" + volume.node_path;
  if (staged) return mover.node + ":/transship/" + request.migration_uid + "/" + volume.name;
  if (const std::string kept = kept_place(mover, volume, request); data_.count(kept) != 0)
    return kept;
  return mover.node + ":/pods/" + request.pod_uid + "/" + volume.name;
}

std::string World::kept_place(const Mover& mover, const api::MoverVolume& volume,
                              const api::TaskRequest& request) {
  return mover.node + ":/kept/" + request.migration_uid + "/" + volume.name;
}

std::string World::do_task(Mover& mover, api::MoverRole role, api::TaskKind kind,
                           const api::TaskRequest& request, api::TaskState& state) {
  using api::TaskKind;
  const bool sender = role == api::MoverRole::kSender;
  if (kind != TaskKind::kPlace && kind != TaskKind::kClaim) mover.seen_pod = request.pod_uid;
  for (const api::MoverVolume& volume : request.volumes) {
    api::VolumeReport report;
    report.name = volume.name;
    report.free_bytes = 1000;
    report.bytes = report.bytes_done = 1;
    report.entries = report.entries_done = entries;
    const std::string from = place_of(mover, volume, request, false);
    const bool is_tree = volume.kind != api::TreeKind::kVolume;
    // Memory is there to be sent once it has been dumped.
    const bool missing =
        volume.kind == api::TreeKind::kMemory && dumped_.count(request.pod_uid) == 0;
    if (kind == TaskKind::kSend && missing) return "no dump of " + volume.name;
    if ((kind == TaskKind::kSend || kind == TaskKind::kPreCopy) && !missing) {
      if (kind == TaskKind::kSend) report.digest = "sha256:" + data_[from];
      // The receiver's half of the same session.
      for (auto& [name, peer] : movers_) {
        if (name !=
            api::mover_name(request.migration_uid, api::MoverRole::kReceiver, request.epoch))
          continue;
        const auto receive = peer.tasks.find(TaskKind::kReceive);
        if (receive == peer.tasks.end()) return "the receiver does not listen";
        for (const api::MoverVolume& there : receive->second.request.volumes) {
          if (there.name != volume.name) continue;
          data_[place_of(peer, there, receive->second.request, true)] = data_[from];
          if (kind == TaskKind::kPreCopy) continue;
          api::VolumeReport received = report;
          received.verified_digest = report.digest;
          receive->second.state.volumes.push_back(received);
        }
        if (kind == TaskKind::kSend) receive->second.state.phase = api::TaskPhase::kSucceeded;
      }
    }
    const std::string into = mover.node + ":/pods/" + request.pod_uid + "/" + volume.name;
    if (kind == TaskKind::kClaim && is_tree)
      data_[into] = data_[place_of(mover, volume, request, true)];
    if (kind == TaskKind::kPlace && !is_tree) {
      const std::string kept = kept_place(mover, volume, request);
      std::string staged = place_of(mover, volume, request, true);
      if (sender) {
        staged = data_.count(kept) != 0
                     ? kept
                     : mover.node + ":/pods/" + request.source_pod_uid + "/" + volume.name;
        if (staged != kept && pinned_.count(request.source_pod_uid) == 0) return "not pinned";
      }
      if (data_.count(staged) != 0) data_[into] = data_[staged];
      data_.erase(staged);
      open_gates_.insert(request.pod_uid);
    }
    if (kind == TaskKind::kKeep && (volume.empty_dir || is_tree)) {
      const std::string kept = kept_place(mover, volume, request);
      if (from != kept) {
        if (pinned_.count(request.pod_uid) == 0) return "not pinned";
        data_[kept] = data_[from];
        data_.erase(from);
      }
    }
    if (kind == TaskKind::kRelease && sender && volume.empty_dir) {
      const std::string kept = kept_place(mover, volume, request);
      if (data_.count(kept) != 0 && !request.discard) return "the data are in no pod";
      data_.erase(kept);
    }
    if (kind == TaskKind::kRelease && !sender) {
      if (request.discard && !volume.empty_dir && !is_tree)
        data_[place_of(mover, volume, request, true)] = "";
      if (volume.empty_dir || is_tree) data_.erase(place_of(mover, volume, request, true));
    }
    state.volumes.push_back(report);
  }
  if (kind == TaskKind::kPreCopy) {
    state.rounds = {{100, 10, 1000}};
    state.estimated_final_milliseconds = final_round_milliseconds;
    passes.push_back(request.pass);
  }
  if (kind == TaskKind::kDump) {
    if (frozen_.count(request.pod_uid) == 0) return "the pod is not frozen";
    dumped_.insert(request.pod_uid);
  }
  if (kind == TaskKind::kThaw) dumped_.erase(request.pod_uid);
  if (kind == TaskKind::kClaim) {
    if (alive_.count(claimed_) != 0) return "the pod before it runs";
    claimed_ = request.pod_uid;
    for (const api::MoverVolume& volume : request.volumes) {
      if (volume.empty_dir) awaits_volumes_.insert(request.pod_uid);
    }
  }
  if (kind == TaskKind::kColdStart) {
    cold_.insert(request.pod_uid);
    // What was in memory is lost, as was asked for.
    for (const char* tree : {"memory.db", "shm.pod"}) acknowledged_.erase(tree);
  }
  if (kind == TaskKind::kPin) pinned_.insert(request.pod_uid);
  if (kind == TaskKind::kKeep) pinned_.erase(request.pod_uid);
  if (kind == TaskKind::kTrialDump) return try_dump(mover, request, state);
  if (kind == TaskKind::kFreeze) return freeze(mover, request);
  if (kind == TaskKind::kSeal) return seal(mover, request);
  if (kind == TaskKind::kThaw) thaw(mover, request.pod_uid);
  if (kind == TaskKind::kKill) end_pod(request.pod_uid);
  if (kind == TaskKind::kRelease && sender) {
    pinned_.erase(request.pod_uid);
    thaw(mover, request.pod_uid);
  }
  return "";
}

std::string World::try_dump(Mover& mover, const api::TaskRequest& request, api::TaskState& state) {
  if (mover.let_go || !mover.froze.empty()) return "the pod was frozen already";
  if (alive_.count(request.pod_uid) == 0) return "the pod has no cgroup";
  ++trials;
  state.frozen_milliseconds = 1500;
  state.dump_milliseconds = 1000;
  for (const api::MoverContainer& container : request.containers) {
    if (!container.memory) continue;
    state.volumes.emplace_back().name = "memory." + container.name;
    state.volumes.back().bytes = 400'000'000;
  }
  return "";
}

std::string World::freeze(Mover& mover, const api::TaskRequest& request) {
  if (mover.let_go) return "the pod goes on, and is not frozen again by this mover";
  if (alive_.count(request.pod_uid) == 0) return "the pod has no cgroup";
  mover.froze = request.pod_uid;
  if (request.freeze_budget_milliseconds > 0)
    mover.thaws = now + std::chrono::milliseconds(request.freeze_budget_milliseconds);
  frozen_.insert(request.pod_uid);
  return "";
}

std::string World::seal(Mover& mover, const api::TaskRequest& request) {
  if (mover.froze != request.pod_uid || mover.let_go || frozen_.count(request.pod_uid) == 0)
    return "the pod is not frozen by this mover";
  mover.sealed = true;
  return "";
}

void World::thaw(Mover& mover, const std::string& pod_uid) {
  frozen_.erase(pod_uid);
  frozen_since_.erase(pod_uid);
  mover.let_go = true;
  mover.sealed = false;
}

// Each sender its own, whatever the operator does; and the kubelet, with the pod's liveness probe.
void World::watch_frozen_pods() {
  std::set<std::string> sealed;
  for (auto& [name, mover] : movers_) {
    if (mover.sealed) sealed.insert(mover.froze);
    const bool holds = !mover.froze.empty() && !mover.sealed && !mover.let_go;
    if (holds && mover.thaws && now >= *mover.thaws) thaw(mover, mover.froze);
  }
  for (const Object& pod : all(Kind::kPod)) {
    if (frozen_.count(uid_of(pod)) == 0 || is_deleting(pod)) continue;
    const Object& probe = at(list_at(pod, {"spec", "containers"})[0], {"livenessProbe"});
    if (!probe.is_object()) continue;
    const WallTime since = frozen_since_.try_emplace(uid_of(pod), now).first->second;
    const auto budget = std::chrono::seconds(
        probe["periodSeconds"].get<int>() * (probe["failureThreshold"].get<int>() - 1) + 1);
    if (now - since >= budget && sealed.count(uid_of(pod)) == 0)
      violations.push_back("a liveness probe killed the frozen pod " + uid_of(pod));
  }
}

void World::check_commit(const Object& status) {
  for (const Object& item : list_at(status, {"conditions"})) {
    if (item["type"] != "Committed" || item["status"] != "True") continue;
    const std::string source = text_at(status, {"source", "podUID"});
    if (alive_.count(source) != 0 && frozen_.count(source) == 0)
      violations.push_back("committed while the source runs");
  }
}

std::optional<int64_t> World::sending_limit() {
  for (const auto& [name, mover] : movers_) {
    const auto send = mover.tasks.find(api::TaskKind::kSend);
    if (send != mover.tasks.end() && send->second.state.phase == api::TaskPhase::kRunning)
      return send->second.state.bandwidth_bytes_per_second;
  }
  return std::nullopt;
}

void World::end_sends() {
  for (auto& [name, mover] : movers_) {
    const auto send = mover.tasks.find(api::TaskKind::kSend);
    if (send == mover.tasks.end() || send->second.state.phase != api::TaskPhase::kRunning) continue;
    Task& task = send->second;
    task.state.message =
        do_task(mover, api::MoverRole::kSender, api::TaskKind::kSend, task.request, task.state);
    task.state.phase =
        task.state.message.empty() ? api::TaskPhase::kSucceeded : api::TaskPhase::kFailed;
  }
}

Result<api::TaskState> World::run(const MoverAddress& address, api::TaskKind kind,
                                  const api::TaskRequest& request) {
  api::TaskState out;
  const Status done = write("task " + std::string(to_string(kind)), [&]() -> Status {
    auto there = state(address);
    if (!there.ok()) return there.error();
    for (const api::MoverVolume& volume : request.volumes) {
      if (!volume.empty_dir && volume.kind == api::TreeKind::kVolume && volume.node_path.empty()) {
        return Error{ErrorCode::kInvalid, "volume " + volume.name + ": nodePath is not absolute"};
      }
    }
    Mover& mover = movers_[api::mover_name(address.migration_uid, address.role, address.epoch)];
    const auto found = mover.tasks.find(kind);
    const bool over =
        found != mover.tasks.end() && found->second.state.phase == api::TaskPhase::kSucceeded;
    const bool further =
        over &&
        ((kind == api::TaskKind::kPreCopy && request.pass > found->second.request.pass) ||
         (kind == api::TaskKind::kClaim && request.pod_uid != found->second.request.pod_uid));
    if (found != mover.tasks.end() && !further &&
        found->second.state.phase != api::TaskPhase::kFailed) {
      api::TaskRequest told = found->second.request;
      told.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
      if (!(told == request)) return Error{ErrorCode::kConflict, "another body"};
      if (found->second.state.phase == api::TaskPhase::kRunning) {
        found->second.request = request;
        found->second.state.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
      }
      out = found->second.state;
      return {};
    }
    if (kind == api::TaskKind::kTrialDump && std::exchange(trial_is_cut_off, false)) {
      frozen_.insert(request.pod_uid);
      crash_mover(api::MoverRole::kSender);
      return Error{ErrorCode::kUnavailable, "the connection ended"};
    }
    const std::string fault = on_task(address.role, kind);
    // It may have stopped the node, and with it the mover.
    if (there = state(address); !there.ok()) return there.error();
    Task& task = mover.tasks[kind];
    task = {request, {}};
    task.state.pass = request.pass;
    task.state.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
    if (kind == api::TaskKind::kSend && sends_stall && fault.empty()) {
      out = task.state;
      return {};
    }
    const std::string problem =
        fault.empty() ? do_task(mover, address.role, kind, request, task.state) : fault;
    task.state.phase = problem.empty() ? api::TaskPhase::kSucceeded : api::TaskPhase::kFailed;
    task.state.message = problem;
    if (kind == api::TaskKind::kReceive && problem.empty()) {
      task.state.phase =
          request.volumes.empty() ? api::TaskPhase::kSucceeded : api::TaskPhase::kRunning;
      task.state.volumes.clear();
    }
    out = task.state;
    return {};
  });
  if (!done.ok()) return done.error();
  return out;
}

}  // namespace transship::testing
