#include "mover/receiver.h"

#include <algorithm>

#include "mover/checkpoint_tools.h"
#include "mover/file_system_space.h"
#include "mover/migration_directory.h"

namespace transship::mover {

using api::MoverVolume;
using api::TaskKind;
using api::TaskRequest;
using api::TreeKind;
using api::VolumeReport;

Receiver::Receiver(const Node& node, TransferConfig config)
    : node_(node),
      config_(std::move(config)),
      destinations_(node, config_.migration_uid),
      placement_(node, config_.migration_uid, "placed.json"),
      claim_(node, config_.migration_uid) {}

std::map<TaskKind, TaskFunction> Receiver::tasks() {
  return {
      {TaskKind::kInspect,
       [this](const auto& r, const auto& d, auto& p) { return inspect(r, d, p); }},
      {TaskKind::kReceive,
       [this](const auto& r, const auto& d, auto& p) { return receive(r, d, p); }},
      {TaskKind::kClaim, [this](const auto& r, const auto&, auto&) { return claim(r); }},
      {TaskKind::kPlace, [this](const auto& r, const auto& d, auto&) { return place(r, d); }},
      {TaskKind::kColdStart, [this](const auto& r, const auto&, auto&) { return cold_start(r); }},
      {TaskKind::kRelease, [this](const auto& r, const auto& d, auto&) { return release(r, d); }},
  };
}

Status Receiver::inspect(const TaskRequest& request, const Deadline& deadline,
                         TaskProgress& progress) {
  const auto in_memory = [](const auto& container) { return container.memory; };
  if (std::any_of(request.containers.begin(), request.containers.end(), in_memory))
    TRANSSHIP_TRY(check_checkpoint_tools(node_, deadline));
  for (const MoverVolume& volume : request.volumes) {
    // emptyDirs are staged beside pods/, on the same file system; memory ones on disk first, too.
    auto directory = volume.empty_dir || volume.kind != api::TreeKind::kVolume
                         ? open_beneath(node_.kubelet_root(), ".", /*cross_mounts=*/true)
                         : node_.open_directory(volume.node_path);
    if (!directory) return directory.error().during("open the destination of " + volume.name);
    auto space = file_system_space(directory->get());
    if (!space) return space.error();
    VolumeReport report;
    report.name = volume.name;
    report.free_bytes = space->free_bytes;
    report.free_inodes = space->free_inodes;
    report.file_system = space->type;
    if (volume.kind == TreeKind::kMemory || volume.kind == TreeKind::kSharedMemory) {
      auto available = available_memory();
      if (!available) return available.error();
      // Once for what comes, and once for what is restored from it.
      report.free_bytes = *available / 2;
      report.free_inodes = INT64_MAX;
      report.file_system = "tmpfs";
    }
    progress.set(std::move(report));
  }
  return {};
}

Status Receiver::receive(const TaskRequest& request, const Deadline& deadline,
                         TaskProgress& progress) {
  MutexLock lock(changing_);
  // Two that write into the same directories would spoil them.
  auto alone = lock_migration_directory(node_, config_.migration_uid, deadline);
  if (!alone) return alone.error();
  std::vector<OpenVolume> volumes;
  for (const MoverVolume& volume : request.volumes) {
    auto directory =
        destinations_.prepare(volume, /*kept=*/request.archive_directory.empty(), deadline);
    if (!directory) return directory.error();
    auto view = node_.volume_view(directory->get(), VolumeAccess::kWrite);
    if (!view) return view.error().during("volume " + volume.name);
    const bool is_volume = volume.kind == TreeKind::kVolume;
    volumes.push_back({volume.name,
                       std::move(view).value(),
                       {},
                       is_volume && !volume.empty_dir,
                       volume.kind == TreeKind::kLayer});
  }
  TRANSSHIP_TRY(receive_volumes(config_, request, volumes, deadline, progress));
  for (const VolumeReport& report : progress.reports()) {
    TRANSSHIP_TRY(destinations_.complete(report.name, report.verified_digest));
  }
  return {};
}

Status Receiver::claim(const TaskRequest& request) {
  if (request.pod_uid.empty()) return Error{ErrorCode::kInvalid, "podUid is missing"};
  MutexLock lock(changing_);
  return claim_.write(request,
                      [this](const MoverVolume& tree) { return destinations_.path(tree); });
}

Status Receiver::place(const TaskRequest& request, const Deadline& deadline) {
  if (request.pod_uid.empty()) return Error{ErrorCode::kInvalid, "podUid is missing"};
  MutexLock lock(changing_);
  return placement_.place(
      request.pod_uid, request.volumes,
      [this](const MoverVolume& volume) { return open_staged(volume); },
      request.containers.empty() ? placement_.gate_of(request.pod_uid)
                                 : claim_.sandbox_of(request.pod_uid),
      deadline);
}

Status Receiver::cold_start(const TaskRequest& request) {
  if (request.pod_uid.empty()) return Error{ErrorCode::kInvalid, "podUid is missing"};
  MutexLock lock(changing_);
  return claim_.cold_start(request.pod_uid);
}

Status Receiver::release(const TaskRequest& request, const Deadline& deadline) {
  MutexLock lock(changing_);
  auto alone = lock_migration_directory(node_, config_.migration_uid, deadline);
  if (!alone) return alone.error();
  TRANSSHIP_TRY(claim_.release());
  TRANSSHIP_TRY(destinations_.release(request.discard, deadline));
  TRANSSHIP_TRY(placement_.forget());
  return remove_migration_directory(node_, config_.migration_uid);
}

Result<Placement::Source> Receiver::open_staged(const MoverVolume& volume) {
  auto digest = destinations_.digest(volume.name);
  if (!digest) return digest.error();
  auto staged = destinations_.open_staged(volume.name);
  if (!staged) return staged.error();
  return Placement::Source{std::move(staged).value(), *digest};
}

}  // namespace transship::mover
