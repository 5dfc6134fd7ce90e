#include "mover/restore_claim.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
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

}  // namespace

RestoreClaim::RestoreClaim(const Node& node, std::string migration_uid)
    : node_(node), migration_uid_(std::move(migration_uid)) {}

Result<PodClaim> RestoreClaim::claim_of(const std::string& pod_uid) const {
  return PodClaim::open(node_.from_here(node_.config().claims), pod_uid);
}

Status RestoreClaim::write(const api::TaskRequest& request, const Received& received) const {
  const std::string mark = node_.config().sandboxes + "/" + request.pod_uid;
  struct stat status {};
  if (::stat(node_.from_here(mark).c_str(), &status) != 0) {
    if (errno != ENOENT) return errno_error("look for " + mark, errno);
    return Error{ErrorCode::kPreconditionFailed,
                 "pod " + request.pod_uid + " does not run under transship-runtime on node " +
                     node_.config().name + " (" + mark +
                     " is missing): is runtimeClassName transship in its spec, and is "
                     "the node set up for it?"};
  }
  runtime::Claim claim;
  claim.migration_uid = migration_uid_;
  claim.old_address = request.source_pod_ip;
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
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  TRANSSHIP_TRY(write_record(home->get(), kRecord, {{"podUid", request.pod_uid}}));
  auto pod = claim_of(request.pod_uid);
  if (!pod) return pod.error();
  const Status written = pod->write(claim);
  if (!written.ok()) return written.error().during("write the claim of pod " + request.pod_uid);
  log::info("claim written", {{"podUid", request.pod_uid}});
  return {};
}

Result<std::optional<std::string>> RestoreClaim::claimed_pod() const {
  auto record = read_migration_record(node_, migration_uid_, kRecord);
  if (!record) return record.error();
  if (!*record) return std::optional<std::string>{};
  const auto pod = (*record)->find("podUid");
  if (pod == (*record)->end() || !pod->is_string())
    return Error{ErrorCode::kCorrupt, std::string(kRecord) + ": no pod UID in it"};
  return std::optional<std::string>(pod->get<std::string>());
}

Result<std::vector<api::ContainerRestore>> RestoreClaim::restores() const {
  std::vector<api::ContainerRestore> restores;
  auto pod_uid = claimed_pod();
  if (!pod_uid) return pod_uid.error();
  if (!*pod_uid) return restores;
  auto pod = claim_of(**pod_uid);
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
  auto pod_uid = claimed_pod();
  if (!pod_uid) return pod_uid.error();
  if (!*pod_uid) return {};
  auto pod = claim_of(**pod_uid);
  if (!pod) return pod.error();
  auto cgroups = PodCgroups::find(node_.cgroup_root(), **pod_uid);
  if (!cgroups) return cgroups.error();
  auto states = pod->states();
  if (!states) return states.error();
  for (const auto& [container, state] : *states) {
    if (!cgroups->found() || state.state == RestoreState::kRunning) continue;
    return Error{ErrorCode::kPreconditionFailed,
                 "container " + container + " of pod " + **pod_uid + " is " +
                     std::string(runtime::to_string(state.state)) +
                     ": what was moved is kept until it runs, or the pod is gone"};
  }
  TRANSSHIP_TRY(pod->remove());
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  return *home ? remove_record((*home)->get(), kRecord) : Status();
}

}  // namespace transship::mover
