#include "mover/restore_claim.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "mover/migration_directory.h"
#include "mover/pod_cgroups.h"
#include "mover/record.h"

namespace transship::mover {
namespace {

using api::TreeKind;
using runtime::PodClaim;
using runtime::RestoreState;

constexpr const char* kRecord = "claimed.json";
constexpr const char* kWithdrawn = "what was moved has been given to another pod";
constexpr std::chrono::milliseconds kPoll{5};

const api::MoverVolume* find_tree(const api::TaskRequest& request, TreeKind kind,
                                  const std::string& container) {
  const auto found = std::find_if(
      request.volumes.begin(), request.volumes.end(),
      [&](const auto& tree) { return tree.kind == kind && tree.container == container; });
  return found == request.volumes.end() ? nullptr : &*found;
}

// The path of a tree that must be there; of one that is not `wanted`, nothing.
Result<std::string> path_of(const api::TaskRequest& request, TreeKind kind,
                            const std::string& container, bool wanted,
                            const RestoreClaim::Received& received) {
  if (!wanted) return std::string();
  const api::MoverVolume* tree = find_tree(request, kind, container);
  if (tree != nullptr) return received(*tree);
  return Error{ErrorCode::kInvalid, "container " + container + ": the request has no tree " +
                                        std::string(api::to_string(kind)) + " of it"};
}

Result<runtime::Claim> claim_for(const api::TaskRequest& request, const std::string& migration_uid,
                                 const RestoreClaim::Received& received) {
  runtime::Claim claim;
  claim.migration_uid = migration_uid;
  claim.old_address = request.source_pod_ip;
  claim.awaits_volumes = std::any_of(request.volumes.begin(), request.volumes.end(),
                                     [](const auto& volume) { return volume.empty_dir; });
  bool any_memory = false;
  for (const api::MoverContainer& container : request.containers) {
    if (container.skip) {
      claim.skip.push_back(container.name);
      continue;
    }
    auto layer = path_of(request, TreeKind::kLayer, container.name,
                         container.layer || container.memory, received);
    if (!layer) return layer.error();
    auto memory = path_of(request, TreeKind::kMemory, container.name, container.memory, received);
    if (!memory) return memory.error();
    any_memory = any_memory || container.memory;
    claim.containers.push_back({container.name, *layer, *memory});
  }
  if (const auto* shared = find_tree(request, TreeKind::kSharedMemory, "")) {
    auto path = received(*shared);
    if (!path) return path.error();
    if (any_memory) claim.shared_memory = *path;
  }
  return claim;
}

}  // namespace

RestoreClaim::RestoreClaim(const Node& node, std::string migration_uid)
    : node_(node), migration_uid_(std::move(migration_uid)) {}

Result<PodClaim> RestoreClaim::claim_of(const std::string& pod_uid) const {
  return PodClaim::open(node_.from_here(node_.config().claims), pod_uid);
}

Status RestoreClaim::write(const api::TaskRequest& request, const Received& received) const {
  auto before = record();
  if (!before) return before.error();
  auto claim = claim_for(request, migration_uid_, received);
  if (!claim) return claim.error();
  Record now = *before;
  if (!before->pod_uid.empty() && before->pod_uid != request.pod_uid) {
    TRANSSHIP_TRY(withdraw(before->pod_uid));
    now.withdrawn.push_back(before->pod_uid);
  }
  now.pod_uid = request.pod_uid;
  TRANSSHIP_TRY(write_record(now));
  auto pod = claim_of(request.pod_uid);
  if (!pod) return pod.error();
  const Status written = pod->write(*claim);
  if (!written.ok()) return written.error().during("write the claim of pod " + request.pod_uid);
  log::info("claim written", {{"podUid", request.pod_uid}});
  return {};
}

Status RestoreClaim::withdraw(const std::string& pod_uid) const {
  auto pod = claim_of(pod_uid);
  if (!pod) return pod.error();
  auto there = pod->read();
  if (!there) return there.error();
  if (!there->has_value()) return {};  // it was recorded, and then not written any more
  if ((*there)->awaits_volumes) {
    auto placed = pod->volumes_are_placed();
    if (!placed) return placed.error();
    if (*placed) {
      return Error{ErrorCode::kPreconditionFailed,
                   "pod " + pod_uid + " has got the emptyDirs, and they are gone with it"};
    }
  }
  return pod->withdraw(kWithdrawn);
}

Placement::Hold RestoreClaim::sandbox_of(const std::string& pod_uid) const {
  // kubelet has set up the volumes when it asks for the sandbox, which transship-runtime marks.
  const auto wait = [this, pod_uid](const Deadline& deadline) -> Status {
    const std::string mark = node_.from_here(node_.config().sandboxes + "/" + pod_uid);
    struct stat status {};
    while (::stat(mark.c_str(), &status) != 0) {
      if (errno != ENOENT) return errno_error("look for " + mark, errno);
      TRANSSHIP_TRY(
          deadline.wait(kPoll, "wait for transship-runtime to make the sandbox of pod " + pod_uid));
    }
    return {};
  };
  const auto let_go = [this, pod_uid]() -> Status {
    auto pod = claim_of(pod_uid);
    return pod ? pod->set_volumes_placed() : Status(pod.error());
  };
  return {wait, let_go};
}

Result<RestoreClaim::Record> RestoreClaim::record() const {
  auto json = read_migration_record(node_, migration_uid_, kRecord);
  if (!json) return json.error();
  if (!*json) return Record{};
  try {
    return Record{(*json)->at("podUid").get<std::string>(),
                  (*json)->value("withdrawn", std::vector<std::string>{})};
  } catch (const nlohmann::json::exception& problem) {
    return Error{ErrorCode::kCorrupt, std::string(kRecord) + ": " + problem.what()};
  }
}

Status RestoreClaim::write_record(const Record& record) const {
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  return mover::write_record(home->get(), kRecord,
                             {{"podUid", record.pod_uid}, {"withdrawn", record.withdrawn}});
}

Result<std::string> RestoreClaim::claimed_pod() const {
  auto recorded = record();
  if (!recorded) return recorded.error();
  if (recorded->pod_uid.empty()) return std::string();
  auto pod = claim_of(recorded->pod_uid);
  if (!pod) return pod.error();
  auto there = pod->read();
  if (!there) return there.error();
  return there->has_value() ? recorded->pod_uid : std::string();
}

Result<std::vector<api::ContainerRestore>> RestoreClaim::restores() const {
  std::vector<api::ContainerRestore> restores;
  auto recorded = record();
  if (!recorded) return recorded.error();
  if (recorded->pod_uid.empty()) return restores;
  auto pod = claim_of(recorded->pod_uid);
  if (!pod) return pod.error();
  auto states = pod->states();
  if (!states) return states.error();
  for (const auto& [container, state] : *states)
    restores.push_back({container, std::string(runtime::to_string(state.state)), state.message});
  return restores;
}

Status RestoreClaim::cold_start(const std::string& pod_uid) const {
  auto pod = claim_of(pod_uid);
  return pod ? pod->cold_start() : Status(pod.error());
}

Status RestoreClaim::release() const {
  auto recorded = record();
  if (!recorded) return recorded.error();
  if (recorded->pod_uid.empty()) return {};
  TRANSSHIP_TRY(remove_claim(recorded->pod_uid, /*must_run=*/true));
  for (const std::string& pod_uid : recorded->withdrawn)
    TRANSSHIP_TRY(remove_claim(pod_uid, /*must_run=*/false));
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  return *home ? remove_record((*home)->get(), kRecord) : Status();
}

Status RestoreClaim::remove_claim(const std::string& pod_uid, bool must_run) const {
  auto pod = claim_of(pod_uid);
  if (!pod) return pod.error();
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  auto states = pod->states();
  if (!states) return states.error();
  for (const auto& [container, state] : *states) {
    if (!cgroups->found() || (must_run && state.state == RestoreState::kRunning)) continue;
    return Error{ErrorCode::kPreconditionFailed,
                 "container " + container + " of pod " + pod_uid + " is " +
                     std::string(runtime::to_string(state.state)) +
                     ": what was moved is kept until it runs, or the pod is gone"};
  }
  return pod->remove();
}

}  // namespace transship::mover
