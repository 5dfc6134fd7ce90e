#include "mover/locks.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/directory_stream.h"
#include "base/unique_fd.h"
#include "transfer/entry_metadata.h"

namespace transship::mover {
namespace {

constexpr bool kProjects = false;  // they are the node's

std::string shown(const Lock& lock) { return lock.name.empty() ? "the volume's root" : lock.name; }

// `path`: what it is called in the locks. Whether it is a directory.
Result<bool> look_at(int directory, const std::string& name, const std::string& path,
                     Locks& locks) {
  struct statx stat {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::statx(directory, name.c_str(), flags, STATX_TYPE, &stat) != 0)
    return errno_error("stat " + path, errno);
  const bool is_directory = S_ISDIR(stat.stx_mode);
  if ((stat.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) == 0) return is_directory;
  transfer::InodeAttributes found;
  if (const auto failed = transfer::read_inode(directory, name, stat.stx_mode, kProjects, found))
    return transfer::write_error(*failed, path);
  locks.push_back({path, stat.stx_mode, found.flags});
  return is_directory;
}

// A directory that is being looked into, with what is still to be looked at.
struct Level {
  UniqueFd directory;
  std::string path;  // with a slash, but for the top
  std::vector<std::string> names;
};

Result<Level> open_level(int parent, const std::string& name, const std::string& path) {
  Level level{UniqueFd(::openat(parent, name.c_str(),
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)),
              path,
              {}};
  if (!level.directory.valid()) return errno_error("open " + path, errno);
  auto names = list_directory(level.directory.get());
  if (!names) return names.error();
  level.names = std::move(names).value();
  return level;
}

bool is_there(int directory, const Lock& lock) {
  struct stat status {};
  return lock.name.empty() ||
         ::fstatat(directory, lock.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

Result<Locks> find_locks(int directory, LockScope scope) {
  Locks locks;
  TRANSSHIP_TRY(look_at(directory, "", "", locks));
  if (scope == LockScope::kItself) return locks;
  std::vector<Level> levels;
  auto top = open_level(directory, ".", "");
  if (!top) return top.error();
  levels.push_back(std::move(top).value());
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.names.empty()) {
      levels.pop_back();
      continue;
    }
    const std::string name = std::move(level.names.back());
    level.names.pop_back();
    auto is_directory = look_at(level.directory.get(), name, level.path + name, locks);
    if (!is_directory) return is_directory.error();
    if (!*is_directory || scope != LockScope::kAll) continue;
    auto inside = open_level(level.directory.get(), name, level.path + name + "/");
    if (!inside) return inside.error();
    levels.push_back(std::move(inside).value());
  }
  return locks;
}

Status take_off(const Locks& locks, int directory) {
  for (const Lock& lock : locks) {
    if (!is_there(directory, lock)) continue;
    if (const auto failed = transfer::unlock_inode(directory, lock.name, lock.mode, kProjects))
      return transfer::write_error(*failed, shown(lock));
  }
  return {};
}

Status put_on(const Locks& locks, int directory) {
  for (const Lock& lock : locks) {
    if (!is_there(directory, lock)) continue;
    if (const auto failed =
            transfer::lock_inode(directory, lock.name, lock.mode, {lock.flags, 0}, kProjects))
      return transfer::write_error(*failed, shown(lock));
  }
  return {};
}

nlohmann::json to_value(const Locks& locks) {
  nlohmann::json value = nlohmann::json::array();
  for (const Lock& lock : locks) {
    const std::vector<uint8_t> name(lock.name.begin(), lock.name.end());
    value.push_back({{"name", name}, {"mode", lock.mode}, {"flags", lock.flags}});
  }
  return value;
}

Locks locks_of(const nlohmann::json& value) {
  Locks locks;
  for (const auto& one : value) {
    const auto name = one.at("name").get<std::vector<uint8_t>>();
    locks.push_back({{name.begin(), name.end()}, one.at("mode"), one.at("flags")});
  }
  return locks;
}

}  // namespace transship::mover
