#include "mover/pin.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "mover/migration_directory.h"
#include "mover/pod_cgroups.h"
#include "mover/record.h"
#include "mover/tree_removal.h"

namespace transship::mover {
namespace {

using api::MoverVolume;

constexpr const char* kRecord = "pins.json";

// `path` as its own file system names it, e.g. "/lib/kubelet/x" where /var is a file system.
std::string root_of(const Mount& mount, const std::string& path) {
  std::string inside = path.substr(mount.point == "/" ? 0 : mount.point.size());
  return mount.root == "/" ? (inside.empty() ? "/" : inside) : mount.root + inside;
}

nlohmann::json record_of(const std::string& pod_uid, const std::vector<MoverVolume>& volumes,
                         const std::string& boot_id, bool done) {
  nlohmann::json names = nlohmann::json::array();
  for (const MoverVolume& volume : volumes) names.push_back(volume.name);
  return {{"podUid", pod_uid}, {"volumes", std::move(names)}, {"bootId", boot_id}, {"done", done}};
}

std::vector<std::string> volumes_of(const nlohmann::json& record) {
  std::vector<std::string> names;
  const auto volumes = record.find("volumes");
  if (volumes == record.end() || !volumes->is_array()) return names;
  for (const auto& name : *volumes) {
    if (name.is_string() && check_volume_name(name.get<std::string>()).ok()) names.push_back(name);
  }
  return names;
}

std::optional<std::string> pod_of(const nlohmann::json& record) {
  const auto pod = record.find("podUid");
  if (pod == record.end() || !pod->is_string()) return std::nullopt;
  auto uid = pod->get<std::string>();
  if (!check_uid("pins.json", uid).ok()) return std::nullopt;
  return uid;
}

Result<bool> is_mounted(const std::string& point) {
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  return table->at(point) != nullptr;
}

// The request says what medium the pod asked for; the mount table what kubelet made.
Status check_medium(const MoverVolume& volume, const std::string& real) {
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  const Mount* mount = table->at(real);
  const bool tmpfs = mount && mount->file_system == "tmpfs";
  if (tmpfs == volume.memory) return {};
  return Error{ErrorCode::kPreconditionFailed,
               real + (tmpfs ? " is a tmpfs, though its medium is not Memory"
                             : " is no tmpfs, though its medium is Memory")};
}

}  // namespace

Pins::Pins(const Node& node, std::string migration_uid)
    : node_(node), migration_uid_(migration_uid), kept_(node, std::move(migration_uid)) {}

std::string Pins::pin_path(const std::string& volume) const {
  return node_.absolute(migration_path(migration_uid_) + "/pins/" + volume);
}

std::string Pins::cover_path(const std::string& volume) const {
  return node_.absolute(migration_path(migration_uid_) + "/covers/" + volume);
}

Status Pins::pin(const std::string& pod_uid, const std::vector<MoverVolume>& volumes) {
  std::vector<MoverVolume> empty_dirs;
  std::copy_if(volumes.begin(), volumes.end(), std::back_inserter(empty_dirs),
               [](const MoverVolume& volume) { return volume.empty_dir; });
  auto pinned = pinned_pod();
  if (!pinned) return pinned.error();
  if (*pinned && **pinned != pod_uid) {
    return Error{ErrorCode::kConflict, "pin pod " + pod_uid + ": pod " + **pinned +
                                           " is pinned for this migration; release it first"};
  }
  for (const MoverVolume& volume : empty_dirs) {
    TRANSSHIP_TRY(check_not_propagated(pod_uid, volume.name));
  }
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  TRANSSHIP_TRY(
      write_record(home->get(), kRecord, record_of(pod_uid, empty_dirs, node_.boot_id(), false)));
  for (const MoverVolume& volume : empty_dirs) {
    if (const Status status = pin_volume(pod_uid, volume); !status.ok()) {
      return status.error().during("pin volume " + volume.name);
    }
    log::info("volume pinned", {{"volume", volume.name}, {"podUid", pod_uid}});
  }
  return write_record(home->get(), kRecord, record_of(pod_uid, empty_dirs, node_.boot_id(), true));
}

Status Pins::pin_volume(const std::string& pod_uid, const MoverVolume& volume) const {
  const std::string relative = empty_dir_path(pod_uid, volume.name);
  const std::string real = node_.absolute(relative);
  auto there = open_beneath(node_.kubelet_root(), relative, /*cross_mounts=*/true);
  if (!there) return there.error();
  const std::string home = migration_path(migration_uid_);
  auto pin_directory = make_beneath(node_.kubelet_root(), home + "/pins/" + volume.name);
  if (!pin_directory) return pin_directory.error();
  auto cover_directory = make_beneath(node_.kubelet_root(), home + "/covers/" + volume.name);
  if (!cover_directory) return cover_directory.error();

  auto pinned = is_mounted(pin_path(volume.name));
  if (!pinned) return pinned.error();
  if (!*pinned) {
    // Covered without a pin is no state that pin() leaves; a pin of a cover would lose a tmpfs.
    TRANSSHIP_TRY(uncover(relative, volume.name));
    TRANSSHIP_TRY(check_medium(volume, real));
    if (!volume.memory) TRANSSHIP_TRY(check_in_raw_view(relative));
    TRANSSHIP_TRY(bind_apart(real, pin_path(volume.name)));
  }
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  auto covered = is_cover(table->at(real), volume.name);
  if (!covered) return covered.error();
  if (!*covered) TRANSSHIP_TRY(bind_apart(cover_path(volume.name), real));
  return check_on_node(pod_uid, volume.name);
}

Result<bool> Pins::is_cover(const Mount* mount, const std::string& volume) const {
  if (!mount) return false;
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  const Mount* disk = table->containing(cover_path(volume));
  return disk && mount->device == disk->device && mount->root == root_of(*disk, cover_path(volume));
}

// A container whose mount of the volume receives or shares mount events would see the cover.
Status Pins::check_not_propagated(const std::string& pod_uid, const std::string& volume) const {
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  const std::string real = node_.absolute(empty_dir_path(pod_uid, volume));
  if (table->at(pin_path(volume))) return {};  // it was looked at before
  const Mount* mount = table->containing(real);
  if (!mount) return {};
  const std::string root = root_of(*mount, real);
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  auto pids = cgroups->processes();
  if (!pids) return pids.error();
  for (const int pid : *pids) {
    auto inside = MountTable::read("/proc/" + std::to_string(pid) + "/mountinfo");
    if (!inside) continue;  // it ended meanwhile
    for (const Mount& seen : inside->mounts()) {
      if (seen.device != mount->device || seen.root != root || seen.point == real) continue;
      if (seen.peers.empty()) continue;
      return Error{ErrorCode::kPreconditionFailed,
                   "volume " + volume + " is mounted at " + seen.point +
                       " with mountPropagation: it cannot be pinned while its container runs"};
    }
  }
  return {};
}

Status Pins::check_on_node(const std::string& pod_uid, const std::string& volume) const {
  auto node = MountTable::read(node_.node_mountinfo());
  if (!node) return node.error();
  const std::string real = node_.absolute(empty_dir_path(pod_uid, volume));
  auto covered = is_cover(node->at(real), volume);
  if (!covered) return covered.error();
  if (*covered && node->at(pin_path(volume))) return {};
  return Error{ErrorCode::kPreconditionFailed,
               "the mounts do not reach the node: " + node_.config().kubelet_root +
                   " must be mounted into the mover with mountPropagation Bidirectional"};
}

// What keep() and a rollback rename must be within the file system of the kubelet root itself.
Status Pins::check_in_raw_view(const std::string& relative) const {
  auto there = open_beneath(node_.kubelet_root(), relative, /*cross_mounts=*/true);
  if (!there) return there.error();
  auto raw = open_beneath(node_.raw_view(), relative, /*cross_mounts=*/false);
  struct stat seen {};
  struct stat below {};
  if (::fstat(there->get(), &seen) != 0) return errno_error("stat " + relative, errno);
  if (raw && ::fstat(raw->get(), &below) != 0) return errno_error("stat " + relative, errno);
  if (raw && seen.st_dev == below.st_dev && seen.st_ino == below.st_ino) return {};
  return Error{ErrorCode::kPreconditionFailed,
               node_.absolute(relative) + " lies on a mount of its own below " +
                   node_.config().kubelet_root +
                   ": it could not be given back to a pod on this node, so the pod is not stopped"};
}

Status Pins::keep(const std::string& pod_uid, const std::vector<MoverVolume>& volumes) const {
  auto pinned = pinned_pod();
  if (!pinned) return pinned.error();
  if (!*pinned || **pinned != pod_uid) {
    return Error{ErrorCode::kPreconditionFailed,
                 "pod " + pod_uid + " is not pinned on node " + node_.config().name};
  }
  for (const MoverVolume& volume : volumes) {
    if (!volume.empty_dir || volume.memory) continue;
    if (const Status status = keep_volume(pod_uid, volume.name); !status.ok()) {
      return status.error().during("keep volume " + volume.name);
    }
    log::info("volume kept", {{"volume", volume.name}, {"podUid", pod_uid}});
  }
  return {};
}

Status Pins::keep_volume(const std::string& pod_uid, const std::string& volume) const {
  auto kept = kept_.contains(volume);
  if (!kept) return kept.error();
  if (!*kept) {
    auto mounted = is_mounted(pin_path(volume));
    if (!mounted) return mounted.error();
    // Without its pin kubelet may have emptied it already.
    if (!*mounted) {
      return Error{ErrorCode::kNotFound, "volume " + volume + " is not pinned on this node"};
    }
    TRANSSHIP_TRY(kept_.take(pod_uid, volume,
                             [&] { return uncover(empty_dir_path(pod_uid, volume), volume); }));
  }
  TRANSSHIP_TRY(kept_.restore_flags(volume));
  // The cover has come along with the directory that it is mounted on.
  TRANSSHIP_TRY(uncover(kept_.path(volume), volume));
  return unpin(volume);
}

Result<std::optional<std::string>> Pins::pinned_pod() const {
  auto record = read_migration_record(node_, migration_uid_, kRecord);
  if (!record) return record.error();
  if (!*record) return std::optional<std::string>{};
  auto pod = pod_of(**record);
  if (!pod) return Error{ErrorCode::kCorrupt, std::string(kRecord) + ": no pod UID in it"};
  return pod;
}

Result<UniqueFd> Pins::open(const std::string& volume) const {
  auto kept = kept_.contains(volume);
  if (!kept) return kept.error();
  if (*kept) return kept_.open(volume);
  auto mounted = is_mounted(pin_path(volume));
  if (!mounted) return mounted.error();
  if (!*mounted) {
    return Error{ErrorCode::kNotFound, "volume " + volume + " is not pinned on this node"};
  }
  return open_beneath(node_.kubelet_root(), migration_path(migration_uid_) + "/pins/" + volume,
                      /*cross_mounts=*/true);
}

Result<UniqueFd> Pins::open_raw(const std::string& pod_uid, const std::string& volume) const {
  auto kept = kept_.contains(volume);
  if (!kept) return kept.error();
  if (*kept) return kept_.open(volume);
  auto mounted = is_mounted(pin_path(volume));
  if (!mounted) return mounted.error();
  if (!*mounted) {
    return Error{ErrorCode::kNotFound,
                 "volume " + volume + " is not pinned on node " + node_.config().name +
                     " any more, and was not kept: did the node reboot at the moment of the stop? "
                     "What is left of it is in " +
                     node_.absolute(empty_dir_path(pod_uid, volume))};
  }
  return open_beneath(node_.raw_view(), empty_dir_path(pod_uid, volume), /*cross_mounts=*/false);
}

Result<bool> Pins::lost_by_reboot(const std::string& volume) const {
  auto record = read_migration_record(node_, migration_uid_, kRecord);
  if (!record) return record.error();
  if (!*record) return false;
  const auto boot = (*record)->find("bootId");
  if (boot == (*record)->end() || !boot->is_string() || *boot == node_.boot_id()) return false;
  auto mounted = is_mounted(pin_path(volume));
  if (!mounted) return mounted.error();
  return !*mounted;
}

Result<bool> Pins::in_place() const {
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  return !table->below(node_.absolute(migration_path(migration_uid_))).empty();
}

Status Pins::uncover(const std::string& relative, const std::string& volume) const {
  const std::string real = node_.absolute(relative);
  for (;;) {
    auto table = MountTable::read(Node::own_mountinfo());
    if (!table) return table.error();
    auto covered = is_cover(table->at(real), volume);
    if (!covered) return covered.error();
    if (!*covered) return {};
    TRANSSHIP_TRY(unmount(real));
  }
}

Status Pins::release(bool discard, const Deadline& deadline) const {
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  if (!*home) return {};
  const int directory = (*home)->get();
  auto record = read_record(directory, kRecord);
  if (!record) return record.error();
  const auto pod = *record ? pod_of(**record) : std::nullopt;
  if (!discard) TRANSSHIP_TRY(kept_.check_empty());
  for (const std::string& volume : *record ? volumes_of(**record) : std::vector<std::string>{}) {
    if (pod) TRANSSHIP_TRY(uncover(empty_dir_path(*pod, volume), volume));
    TRANSSHIP_TRY(uncover(kept_.path(volume), volume));
    TRANSSHIP_TRY(unpin(volume));
  }
  TRANSSHIP_TRY(check_nothing_mounted(node_, migration_uid_));
  TRANSSHIP_TRY(remove_tree(directory, "pins", deadline));
  TRANSSHIP_TRY(remove_tree(directory, "covers", deadline));
  TRANSSHIP_TRY(remove_tree(directory, "kept", deadline));
  TRANSSHIP_TRY(kept_.forget());
  return remove_record(directory, kRecord);
}

Status Pins::unpin(const std::string& volume) const {
  for (;;) {
    auto table = MountTable::read(Node::own_mountinfo());
    if (!table) return table.error();
    if (!table->at(pin_path(volume))) return {};
    TRANSSHIP_TRY(unmount(pin_path(volume)));
  }
}

}  // namespace transship::mover
