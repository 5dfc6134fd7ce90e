#include "mover/placement.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "mover/gate.h"
#include "mover/migration_directory.h"
#include "mover/mount_table.h"
#include "mover/record.h"
#include "mover/tree_move.h"
#include "mover/tree_removal.h"
#include "mover/volume_copy.h"

namespace transship::mover {
namespace {

using api::MoverVolume;

constexpr std::chrono::milliseconds kPoll{20};
constexpr const char* kPlacing = "placing";
constexpr const char* kPlaced = "placed";

// The gate's directory once its container says that it waits: kubelet has then set up all volumes.
Result<UniqueFd> wait_for_gate(const Node& node, const std::string& pod_uid,
                               const Deadline& deadline) {
  const std::string gate = empty_dir_path(pod_uid, kGateVolume);
  for (;;) {
    auto waiting = exists_beneath(node.kubelet_root(), gate + "/" + kGateWaiting);
    if (!waiting) return waiting.error();
    if (*waiting) return open_beneath(node.kubelet_root(), gate, /*cross_mounts=*/true);
    TRANSSHIP_TRY(deadline.wait(kPoll, "wait for the gate of pod " + pod_uid));
  }
}

Status open_gate(int gate) {
  const UniqueFd file(::openat(gate, kGateOpen, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_error("open the gate", errno);
  return {};
}

}  // namespace

Placement::Placement(const Node& node, std::string migration_uid, std::string record)
    : node_(node), migration_uid_(std::move(migration_uid)), record_(std::move(record)) {}

Status Placement::place(const std::string& pod_uid, const std::vector<MoverVolume>& volumes,
                        const OpenSource& open_source, const Hold& hold,
                        const Deadline& deadline) const {
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  TRANSSHIP_TRY(hold.wait(deadline));
  for (const MoverVolume& volume : volumes) {
    if (!volume.empty_dir) continue;
    const Status placed = place_volume(home->get(), pod_uid, volume, open_source, deadline);
    if (!placed.ok()) return placed.error().during("place volume " + volume.name);
    log::info("volume placed", {{"volume", volume.name}, {"podUid", pod_uid}});
  }
  TRANSSHIP_TRY(deadline.check("let pod " + pod_uid + " go on"));
  return hold.let_go();
}

Placement::Hold Placement::gate_of(const std::string& pod_uid) const {
  const auto gate = std::make_shared<UniqueFd>();
  return {[this, gate, pod_uid](const Deadline& deadline) -> Status {
            auto found = wait_for_gate(node_, pod_uid, deadline);
            if (!found) return found.error();
            *gate = std::move(found).value();
            return {};
          },
          [gate] { return open_gate(gate->get()); }};
}

Status Placement::place_volume(int home, const std::string& pod_uid, const MoverVolume& volume,
                               const OpenSource& open_source, const Deadline& deadline) const {
  auto progress = read(home, pod_uid, volume.name);
  if (!progress) return progress.error();
  if (progress->stage == Stage::kPlaced) return {};
  auto source = open_source(volume);
  if (!source) return source.error();
  if (!source->directory.valid()) {
    return write(home, pod_uid, volume.name, {Stage::kPlaced, {}, {}});
  }
  auto target = open_target(pod_uid, volume);
  if (!target) return target.error();
  if (progress->stage == Stage::kNone) {
    auto fresh = is_fresh(target->get());
    if (!fresh) return fresh.error();
    if (!*fresh) {
      return Error{ErrorCode::kPreconditionFailed,
                   "the volume of the new pod is not empty, nothing is overwritten"};
    }
    struct stat status {};
    if (::fstat(source->directory.get(), &status) != 0)
      return errno_error("stat the source", errno);
    // What is locked can be neither renamed nor (on ext4) given another project id.
    auto other_ids = hands_project_down(target->get());
    if (!other_ids) return other_ids.error();
    const LockScope scope = volume.memory ? LockScope::kItself
                            : *other_ids  ? LockScope::kAll
                                          : LockScope::kChildren;
    auto locks = find_locks(source->directory.get(), scope);
    if (!locks) return locks.error();
    *progress = {Stage::kPlacing, status.st_mtim, std::move(locks).value()};
    TRANSSHIP_TRY(write(home, pod_uid, volume.name, *progress));
  }
  TRANSSHIP_TRY(fill(volume, *source, target->get(), *progress, deadline));
  progress->stage = Stage::kPlaced;
  return write(home, pod_uid, volume.name, *progress);
}

Status Placement::fill(const MoverVolume& volume, const Source& source, int target,
                       const Progress& progress, const Deadline& deadline) const {
  const int from = source.directory.get();
  if (volume.memory) {
    // What an interrupted copy left is ours: the gate has held everybody else back.
    TRANSSHIP_TRY(empty_directory(target, deadline));
    return copy_volume(from, target, source.digest, deadline);
  }
  // Of what an interrupted try had moved already, too.
  TRANSSHIP_TRY(take_off(progress.locks, from));
  TRANSSHIP_TRY(take_off(progress.locks, target));
  TRANSSHIP_TRY(give_project(from, target, deadline));
  TRANSSHIP_TRY(move_children(from, target, deadline));
  TRANSSHIP_TRY(copy_root_metadata(from, target, progress.modified));
  TRANSSHIP_TRY(put_on(progress.locks, target));
  if (::syncfs(target) != 0) return errno_error("sync the volume", errno);
  return {};
}

Result<UniqueFd> Placement::open_target(const std::string& pod_uid,
                                        const MoverVolume& volume) const {
  const std::string path = empty_dir_path(pod_uid, volume.name);
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  const Mount* mount = table->at(node_.absolute(path));
  const bool tmpfs = mount && mount->file_system == "tmpfs";
  if (volume.memory ? !tmpfs : mount != nullptr) {
    return Error{ErrorCode::kPreconditionFailed,
                 node_.absolute(path) + " is " +
                     (mount ? "a mounted " + mount->file_system : "no mount") + ", expected " +
                     (volume.memory ? "a tmpfs" : "a directory of the disk")};
  }
  return volume.memory ? open_beneath(node_.kubelet_root(), path, /*cross_mounts=*/true)
                       : open_beneath(node_.raw_view(), path, /*cross_mounts=*/false);
}

Result<Placement::Progress> Placement::read(int home, const std::string& pod_uid,
                                            const std::string& volume) const {
  auto record = read_record(home, record_);
  if (!record) return record.error();
  if (!*record) return Progress{};
  try {
    const nlohmann::json& volumes = (*record)->at("volumes");
    const auto found = volumes.find(volume);
    if (found == volumes.end()) return Progress{};
    const auto pod = found->at("podUid").get<std::string>();
    if (pod != pod_uid) {
      return Error{ErrorCode::kPreconditionFailed,
                   "its content was (partly) moved into pod " + pod + " before"};
    }
    Progress progress;
    progress.stage = found->at("stage") == kPlaced ? Stage::kPlaced : Stage::kPlacing;
    progress.modified = {found->at("modifiedSeconds"), found->at("modifiedNanoseconds")};
    if (found->contains("locks")) progress.locks = locks_of(found->at("locks"));
    return progress;
  } catch (const nlohmann::json::exception& problem) {
    return Error{ErrorCode::kCorrupt, record_ + ": " + problem.what()};
  }
}

Status Placement::write(int home, const std::string& pod_uid, const std::string& volume,
                        const Progress& progress) const {
  auto record = read_record(home, record_);
  if (!record) return record.error();
  nlohmann::json value = *record ? std::move(**record) : nlohmann::json::object();
  value["volumes"][volume] = {{"podUid", pod_uid},
                              {"stage", progress.stage == Stage::kPlaced ? kPlaced : kPlacing},
                              {"modifiedSeconds", progress.modified.tv_sec},
                              {"modifiedNanoseconds", progress.modified.tv_nsec},
                              {"locks", to_value(progress.locks)}};
  return write_record(home, record_, value);
}

Status Placement::forget() const {
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  if (!*home) return {};
  return remove_record((*home)->get(), record_);
}

}  // namespace transship::mover
