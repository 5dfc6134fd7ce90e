#include "mover/kept.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/directory_stream.h"
#include "mover/locks.h"
#include "mover/migration_directory.h"
#include "mover/record.h"

namespace transship::mover {
namespace {

constexpr const char* kRecord = "kept.json";

Status sync_directory(int fd, const std::string& path) {
  if (::fsync(fd) != 0) return errno_error("sync " + path, errno);
  return {};
}

// Only for a thread that ends then: it leaves its mount namespace.
Status enter_passing_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) return errno_error("make a mount namespace", errno);
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno_error("make the mount namespace private", errno);
  }
  return {};
}

}  // namespace

Kept::Kept(const Node& node, std::string migration_uid)
    : node_(node), migration_uid_(std::move(migration_uid)) {}

std::string Kept::directory() const { return migration_path(migration_uid_) + "/kept"; }

std::string Kept::path(const std::string& volume) const { return directory() + "/" + volume; }

Result<bool> Kept::contains(const std::string& volume) const {
  return exists_beneath(node_.kubelet_root(), path(volume));
}

Result<UniqueFd> Kept::open(const std::string& volume) const {
  return open_beneath(node_.raw_view(), path(volume), /*cross_mounts=*/false);
}

// The node's own mounts stay throughout, so there is no moment at which kubelet could get in.
Status Kept::take(const std::string& pod_uid, const std::string& volume,
                  const std::function<Status()>& uncover) const {
  std::string volumes = empty_dir_path(pod_uid, "");
  volumes.pop_back();  // "/"
  auto from = open_beneath(node_.raw_view(), volumes, /*cross_mounts=*/false);
  if (!from) return from.error();
  auto made = make_beneath(node_.kubelet_root(), directory());
  if (!made) return made.error();
  auto to = open_beneath(node_.raw_view(), directory(), /*cross_mounts=*/false);
  if (!to) return to.error();
  TRANSSHIP_TRY(take_flags_off(from->get(), volume));
  Status renamed;
  std::thread([&] {
    renamed = enter_passing_mounts();
    if (renamed.ok()) renamed = uncover();
    if (!renamed.ok()) return;
    const int result =
        ::renameat2(from->get(), volume.c_str(), to->get(), volume.c_str(), RENAME_NOREPLACE);
    if (result != 0) renamed = errno_error("rename it to " + node_.absolute(directory()), errno);
  }).join();
  if (!renamed.ok()) return renamed;
  TRANSSHIP_TRY(sync_directory(to->get(), directory()));
  return sync_directory(from->get(), volumes);
}

// rename(2) refuses a directory that is immutable or append-only.
Status Kept::take_flags_off(int volumes, const std::string& volume) const {
  auto content = open_beneath(volumes, volume, /*cross_mounts=*/false);
  if (!content) return content.error();
  auto locks = find_locks(content->get(), LockScope::kItself);
  if (!locks) return locks.error();
  if (locks->empty()) return {};
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  auto record = read_record(home->get(), kRecord);
  if (!record) return record.error();
  nlohmann::json value = *record ? std::move(**record) : nlohmann::json::object();
  value["locks"][volume] = to_value(*locks);
  TRANSSHIP_TRY(write_record(home->get(), kRecord, value));
  return take_off(*locks, content->get());
}

Status Kept::restore_flags(const std::string& volume) const {
  auto record = read_migration_record(node_, migration_uid_, kRecord);
  if (!record) return record.error();
  if (!*record) return {};
  auto content = open(volume);
  if (!content) return content.error();
  try {
    const nlohmann::json& locks = (*record)->at("locks");
    const auto found = locks.find(volume);
    return found == locks.end() ? Status() : put_on(locks_of(*found), content->get());
  } catch (const nlohmann::json::exception& problem) {
    return Error{ErrorCode::kCorrupt, std::string(kRecord) + ": " + problem.what()};
  }
}

Status Kept::forget() const {
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  return *home ? remove_record((*home)->get(), kRecord) : Status();
}

Status Kept::check_empty() const {
  auto any = exists_beneath(node_.kubelet_root(), directory());
  if (!any) return any.error();
  if (!*any) return {};
  auto all = open_beneath(node_.raw_view(), directory(), /*cross_mounts=*/false);
  if (!all) return all.error();
  auto volumes = list_directory(all->get());
  if (!volumes) return volumes.error();
  for (const std::string& volume : *volumes) {
    auto content = open(volume);
    if (!content) return content.error();
    auto names = list_directory(content->get());
    if (!names) return names.error();
    if (names->empty()) continue;
    return Error{ErrorCode::kPreconditionFailed, "the data of volume " + volume + " are still in " +
                                                     node_.absolute(path(volume)) +
                                                     ", in no pod: nothing is removed"};
  }
  return {};
}

}  // namespace transship::mover
