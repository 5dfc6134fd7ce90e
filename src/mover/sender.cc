#include "mover/sender.h"

#include "base/log.h"
#include "mover/blockers.h"
#include "mover/checkpoint_tools.h"
#include "mover/file_system_space.h"
#include "mover/migration_directory.h"
#include "mover/pod_cgroups.h"
#include "mover/pod_containers.h"
#include "mover/trial_dump.h"
#include "mover/volume_stream.h"

namespace transship::mover {
namespace {

using api::MoverVolume;
using api::TaskKind;
using api::TaskRequest;
using api::TreeKind;
using api::VolumeReport;

transfer::Compression compression_of(const TaskRequest& request) {
  if (request.compression == "None") return transfer::Compression::kNone;
  return request.compression == "Zstd" ? transfer::Compression::kZstd
                                       : transfer::Compression::kAuto;
}

Status require_pod(const TaskRequest& request) {
  if (!request.pod_uid.empty()) return {};
  return Error{ErrorCode::kInvalid, "podUid is missing"};
}

}  // namespace

Sender::Sender(const Node& node, TransferConfig config)
    : node_(node),
      config_(std::move(config)),
      pins_(node, config_.migration_uid),
      placement_(node, config_.migration_uid, "placed-from-pins.json"),
      memory_(node, config_.migration_uid),
      dump_(node, config_.migration_uid, memory_),
      freeze_(node) {}

std::map<TaskKind, TaskFunction> Sender::tasks() {
  return {
      {TaskKind::kInspect,
       [this](const auto& r, const auto& d, auto& p) { return inspect(r, d, p); }},
      {TaskKind::kFreeze, [this](const auto& r, const auto& d, auto&) { return freeze(r, d); }},
      {TaskKind::kSeal, [this](const auto& r, const auto&, auto&) { return seal(r); }},
      {TaskKind::kThaw, [this](const auto& r, const auto&, auto&) { return thaw(r); }},
      {TaskKind::kPin, [this](const auto& r, const auto&, auto&) { return pin(r); }},
      {TaskKind::kKeep, [this](const auto& r, const auto&, auto&) { return keep(r); }},
      {TaskKind::kKill, [this](const auto& r, const auto& d, auto&) { return kill(r, d); }},
      {TaskKind::kDump, [this](const auto& r, const auto& d, auto&) { return dump(r, d); }},
      {TaskKind::kTrialDump,
       [this](const auto& r, const auto& d, auto& p) { return trial_dump(r, d, p); }},
      {TaskKind::kPreCopy,
       [this](const auto& r, const auto& d, auto& p) { return pre_copy(r, d, p); }},
      {TaskKind::kSend, [this](const auto& r, const auto& d, auto& p) { return send(r, d, p); }},
      {TaskKind::kPlace, [this](const auto& r, const auto& d, auto&) { return place(r, d); }},
      {TaskKind::kRelease, [this](const auto& r, const auto& d, auto&) { return release(r, d); }},
  };
}

Status Sender::inspect(const TaskRequest& request, const Deadline& deadline,
                       TaskProgress& progress) {
  TRANSSHIP_TRY(require_pod(request));
  auto cgroups = PodCgroups::find(node_.cgroup_root(), request.pod_uid);
  if (!cgroups) return cgroups.error();
  if (!cgroups->found()) {
    return Error{ErrorCode::kNotFound, "pod " + request.pod_uid + " has no cgroup on node " +
                                           node_.config().name + ": is it running there?"};
  }
  TRANSSHIP_TRY(inspect_memory(request, deadline, progress));
  for (const MoverVolume& volume : request.volumes) {
    // There is nothing before the dump.
    if (volume.kind == TreeKind::kMemory) continue;
    auto directory = view_tree(request, volume);
    if (!directory) return directory.error().during("open volume " + volume.name);
    auto report =
        scan_volume(volume.name, directory->get(), volume.kind == TreeKind::kLayer, deadline);
    if (!report) return report.error().during("scan volume " + volume.name);
    auto space = file_system_space(directory->get());
    if (!space) return space.error();
    report->file_system = space->type;
    {
      const MutexLock lock(inspecting_);
      inspected_[volume.name] = {report->bytes, report->entries};
    }
    progress.set(*report);
  }
  return {};
}

// Whether it can be dumped, as far as that shows before, and about how much it will be.
Status Sender::inspect_memory(const TaskRequest& request, const Deadline& deadline,
                              TaskProgress& progress) {
  std::vector<InspectedContainer> containers;
  int64_t needed = 0;
  for (const api::MoverContainer& container : request.containers) {
    if (!container.memory) continue;
    auto pod = PodContainers::find(node_, request.pod_uid);
    if (!pod) return pod.error();
    auto pids = pod->processes(container);
    if (!pids) return pids.error();
    auto init = pod->init_process(container);
    if (!init) return init.error();
    VolumeReport report;
    report.name = "memory." + container.name;
    report.bytes = resident_memory(node_.proc(), *pids);
    report.file_system = "tmpfs";
    needed += report.bytes;
    progress.set(std::move(report));
    containers.push_back({container.name, *init, std::move(pids).value()});
  }
  if (containers.empty()) return {};
  auto available = available_memory();
  if (!available) return available.error();
  if (*available < needed) {
    return Error{ErrorCode::kNoSpace, "node " + node_.config().name + " has " +
                                          std::to_string(*available) +
                                          " bytes of memory available, and the dump of the pod's "
                                          "memory takes about " +
                                          std::to_string(needed)};
  }
  TRANSSHIP_TRY(check_checkpoint_tools(node_, deadline));
  return check_blockers(node_.proc(), containers);
}

Status Sender::freeze(const TaskRequest& request, const Deadline& deadline) {
  TRANSSHIP_TRY(require_pod(request));
  return freeze_.freeze(request.pod_uid,
                        std::chrono::milliseconds(request.freeze_budget_milliseconds), deadline);
}

Status Sender::seal(const TaskRequest& request) {
  TRANSSHIP_TRY(require_pod(request));
  return freeze_.seal(request.pod_uid);
}

Status Sender::thaw(const TaskRequest& request) {
  TRANSSHIP_TRY(require_pod(request));
  return freeze_.thaw(request.pod_uid);
}

Status Sender::pin(const TaskRequest& request) {
  TRANSSHIP_TRY(require_pod(request));
  MutexLock lock(changing_);
  return pins_.pin(request.pod_uid, request.volumes);
}

Status Sender::keep(const TaskRequest& request) {
  TRANSSHIP_TRY(require_pod(request));
  MutexLock lock(changing_);
  return pins_.keep(request.pod_uid, request.volumes);
}

Status Sender::kill(const TaskRequest& request, const Deadline& deadline) {
  TRANSSHIP_TRY(require_pod(request));
  auto cgroups = PodCgroups::find(node_.cgroup_root(), request.pod_uid);
  return cgroups ? cgroups->kill(deadline) : Status(cgroups.error());
}

// Of two movers, one whose Job was deleted may still be ending.
Status Sender::dump(const TaskRequest& request, const Deadline& deadline) {
  TRANSSHIP_TRY(require_pod(request));
  MutexLock lock(changing_);
  auto alone = lock_migration_directory(node_, config_.migration_uid, deadline);
  if (!alone) return alone.error();
  return freeze_.while_frozen(request.pod_uid, deadline, [&](const Deadline& limit) {
    return dump_.run(request.pod_uid, request.containers, limit);
  });
}

Status Sender::trial_dump(const TaskRequest& request, const Deadline& deadline,
                          TaskProgress& progress) {
  TRANSSHIP_TRY(require_pod(request));
  MutexLock lock(changing_);
  auto alone = lock_migration_directory(node_, config_.migration_uid, deadline);
  if (!alone) return alone.error();
  auto times = TrialDump(dump_, memory_, freeze_).run(request, deadline);
  if (!times) return times.error();
  for (const auto& [name, bytes] : times->images) {
    VolumeReport report;
    report.name = name;
    report.bytes = bytes;
    progress.set(std::move(report));
  }
  progress.set_trial(times->frozen.count(), times->dump.count());
  return {};
}

Result<std::vector<OpenVolume>> Sender::open_volumes(const TaskRequest& request) {
  std::vector<OpenVolume> volumes;
  for (const MoverVolume& volume : request.volumes) {
    auto directory = view_tree(request, volume);
    if (!directory) return directory.error().during("open volume " + volume.name);
    OpenVolume open{volume.name, std::move(directory).value()};
    open.projects = volume.kind == TreeKind::kVolume && !volume.empty_dir;
    open.overlay = volume.kind == TreeKind::kLayer;
    {
      // Another walk would be part of the downtime.
      const MutexLock lock(inspecting_);
      const auto known = inspected_.find(volume.name);
      if (known != inspected_.end()) open.totals = known->second;
    }
    volumes.push_back(std::move(open));
  }
  return volumes;
}

// One that was started anew has another layer than the one that was sent so far.
Status Sender::check_same_containers(const TaskRequest& request) const {
  for (const api::MoverContainer& container : request.containers) {
    const auto sent = sent_containers_.find(container.name);
    if (sent != sent_containers_.end() && sent->second == container.id) continue;
    return Error{ErrorCode::kConflict, "container " + container.name +
                                           " was started anew since the copy began, and has "
                                           "another layer now: begin the migration again"};
  }
  return {};
}

Status Sender::begin_session(const TaskRequest& request, const Deadline& deadline,
                             TaskProgress& progress) {
  if (live_ && live_->is_of(request.volumes)) return check_same_containers(request);
  if (live_) return Error{ErrorCode::kConflict, "a session with other volumes has begun"};
  auto volumes = open_volumes(request);
  if (!volumes) return volumes.error();
  auto session = LiveSession::open(config_, request.peer_host, compression_of(request),
                                   std::move(volumes).value(), deadline, progress);
  if (!session) return session.error();
  live_ = std::move(session).value();
  sent_containers_.clear();
  for (const api::MoverContainer& container : request.containers)
    sent_containers_[container.name] = container.id;
  return {};
}

Status Sender::pre_copy(const TaskRequest& request, const Deadline& deadline,
                        TaskProgress& progress) {
  const MutexLock lock(sending_);
  TRANSSHIP_TRY(begin_session(request, deadline, progress));
  transfer::RoundLimits limits{request.max_rounds, std::nullopt};
  if (request.max_final_round_milliseconds >= 0)
    limits.budget = std::chrono::milliseconds(request.max_final_round_milliseconds);
  const Status sent = live_->send_rounds(limits, deadline, progress);
  if (!sent.ok()) live_.reset();
  return sent;
}

Status Sender::send(const TaskRequest& request, const Deadline& deadline, TaskProgress& progress) {
  if (!request.archive_directory.empty()) {
    auto volumes = open_volumes(request);
    if (!volumes) return volumes.error();
    return archive_volumes(config_, request, std::move(volumes).value(), deadline, progress);
  }
  const MutexLock lock(sending_);
  TRANSSHIP_TRY(begin_session(request, deadline, progress));
  const Status sent = live_->finish(deadline, progress);
  live_.reset();
  return sent;
}

Status Sender::place(const TaskRequest& request, const Deadline& deadline) {
  TRANSSHIP_TRY(require_pod(request));
  MutexLock lock(changing_);
  auto pinned = pins_.pinned_pod();
  if (!pinned) return pinned.error();
  if (!*pinned || **pinned != request.source_pod_uid) {
    return Error{ErrorCode::kPreconditionFailed,
                 "pod " + request.source_pod_uid + " is not pinned on node " + node_.config().name};
  }
  return placement_.place(
      request.pod_uid, request.volumes,
      [&](const MoverVolume& volume) { return open_pinned(request.source_pod_uid, volume); },
      placement_.gate_of(request.pod_uid), deadline);
}

Status Sender::release(const TaskRequest& request, const Deadline& deadline) {
  {
    // It holds the volumes' directories.
    const MutexLock sending(sending_);
    live_.reset();
  }
  MutexLock lock(changing_);
  auto pinned = pins_.pinned_pod();
  if (!pinned) return pinned.error();
  const std::string pod_uid = pinned->value_or(request.pod_uid);
  if (!pod_uid.empty()) TRANSSHIP_TRY(freeze_.thaw(pod_uid));
  TRANSSHIP_TRY(memory_.release());
  TRANSSHIP_TRY(pins_.release(request.discard, deadline));
  TRANSSHIP_TRY(placement_.forget());
  return remove_migration_directory(node_, config_.migration_uid);
}

// What kubelet mounts, and we do with it until the pod has ended, does not concern the view.
Result<UniqueFd> Sender::view_tree(const TaskRequest& request, const MoverVolume& tree) {
  if (tree.kind == TreeKind::kSharedMemory) {
    TRANSSHIP_TRY(require_pod(request));
    auto pod = PodContainers::find(node_, request.pod_uid);
    return pod ? pod->view_shared_memory() : Result<UniqueFd>(pod.error());
  }
  auto directory = open_tree_of(request, tree);
  if (!directory) return directory.error();
  return node_.volume_view(directory->get(), VolumeAccess::kRead);
}

Result<UniqueFd> Sender::open_tree_of(const TaskRequest& request, const MoverVolume& tree) {
  if (tree.kind == TreeKind::kVolume) return open_volume(request.pod_uid, tree);
  if (tree.kind == TreeKind::kMemory) return memory_.open(tree.name);
  TRANSSHIP_TRY(require_pod(request));
  auto pod = PodContainers::find(node_, request.pod_uid);
  if (!pod) return pod.error();
  for (const api::MoverContainer& container : request.containers) {
    if (container.name == tree.container) return pod->open_layer(container);
  }
  return Error{ErrorCode::kInvalid, "container " + tree.container + " is not in the request"};
}

Result<UniqueFd> Sender::open_volume(const std::string& pod_uid, const MoverVolume& volume) {
  if (!volume.empty_dir) return node_.open_directory(volume.node_path);
  auto pinned = pins_.open(volume.name);
  if (pinned || pinned.error().code != ErrorCode::kNotFound) return pinned;
  if (pod_uid.empty()) return Error{ErrorCode::kInvalid, "podUid is missing"};
  return open_beneath(node_.kubelet_root(), empty_dir_path(pod_uid, volume.name),
                      /*cross_mounts=*/true);
}

Result<Placement::Source> Sender::open_pinned(const std::string& pod_uid,
                                              const MoverVolume& volume) {
  if (!volume.memory) {
    auto raw = pins_.open_raw(pod_uid, volume.name);
    if (!raw) return raw.error();
    return Placement::Source{std::move(raw).value(), ""};
  }
  auto lost = pins_.lost_by_reboot(volume.name);
  if (!lost) return lost.error();
  if (*lost) {
    log::warning("the memory volume went with the node's reboot: the pod begins with an empty one",
                 {{"volume", volume.name}, {"podUid", pod_uid}});
    return Placement::Source{UniqueFd(), ""};
  }
  auto pin = pins_.open(volume.name);
  if (!pin) return pin.error();
  return Placement::Source{std::move(pin).value(), ""};
}

}  // namespace transship::mover
