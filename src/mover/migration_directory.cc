#include "mover/migration_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "mover/mount_table.h"
#include "mover/record.h"

namespace transship::mover {
namespace {

constexpr std::chrono::milliseconds kLockPause{50};

}  // namespace

std::string migration_path(const std::string& migration_uid) {
  return "transship/" + migration_uid;
}

Result<UniqueFd> make_migration_directory(const Node& node, const std::string& migration_uid) {
  return make_beneath(node.kubelet_root(), migration_path(migration_uid));
}

Result<std::optional<UniqueFd>> open_migration_directory(const Node& node,
                                                         const std::string& migration_uid) {
  const std::string path = migration_path(migration_uid);
  auto exists = exists_beneath(node.kubelet_root(), path);
  if (!exists) return exists.error();
  if (!*exists) return std::optional<UniqueFd>{};
  auto directory = open_beneath(node.kubelet_root(), path, /*cross_mounts=*/false);
  if (!directory) return directory.error();
  return std::optional<UniqueFd>(std::move(directory).value());
}

Result<std::optional<nlohmann::json>> read_migration_record(const Node& node,
                                                            const std::string& migration_uid,
                                                            const std::string& name) {
  auto home = open_migration_directory(node, migration_uid);
  if (!home) return home.error();
  if (!*home) return std::optional<nlohmann::json>();
  return read_record((*home)->get(), name);
}

Result<UniqueFd> lock_migration_directory(const Node& node, const std::string& migration_uid,
                                          const Deadline& deadline) {
  auto directory = make_migration_directory(node, migration_uid);
  if (!directory) return directory;
  const std::string doing = "wait for an earlier mover of the migration to end";
  while (::flock(directory->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("lock " + migration_path(migration_uid), errno);
    TRANSSHIP_TRY(deadline.wait(kLockPause, doing));
  }
  return directory;
}

Status check_nothing_mounted(const Node& node, const std::string& migration_uid) {
  const std::string path = node.absolute(migration_path(migration_uid));
  for (const std::string& mountinfo : {Node::own_mountinfo(), node.node_mountinfo()}) {
    auto table = MountTable::read(mountinfo);
    if (!table) return table.error();
    const auto left = table->below(path);
    if (left.empty()) continue;
    return Error{ErrorCode::kPreconditionFailed,
                 "nothing is removed from " + path + ": still mounted: " + left.front()};
  }
  return {};
}

Status remove_migration_directory(const Node& node, const std::string& migration_uid) {
  for (const std::string& path : {migration_path(migration_uid), std::string("transship")}) {
    if (::unlinkat(node.kubelet_root(), path.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT)
      continue;
    if (errno == ENOTEMPTY || errno == EEXIST) return {};
    return errno_error("remove " + node.absolute(path), errno);
  }
  return {};
}

}  // namespace transship::mover
