#include "mover/locks.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/directory_stream.h"
#include "transfer/entry_metadata.h"

namespace transship::mover {
namespace {

constexpr bool kProjects = false;  // they are the node's

std::string shown(const Lock& lock) { return lock.name.empty() ? "the volume's root" : lock.name; }

Status look_at(int directory, const std::string& name, Locks& locks) {
  struct statx stat {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::statx(directory, name.c_str(), flags, STATX_TYPE, &stat) != 0)
    return errno_error("stat " + name, errno);
  if ((stat.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) == 0) return {};
  transfer::InodeAttributes found;
  if (const auto failed = transfer::read_inode(directory, name, stat.stx_mode, kProjects, found))
    return transfer::write_error(*failed, name);
  locks.push_back({name, stat.stx_mode, found.flags});
  return {};
}

bool is_there(int directory, const Lock& lock) {
  struct stat status {};
  return lock.name.empty() ||
         ::fstatat(directory, lock.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

Result<Locks> find_locks(int directory, bool children) {
  Locks locks;
  TRANSSHIP_TRY(look_at(directory, "", locks));
  if (!children) return locks;
  auto names = list_directory(directory);
  if (!names) return names.error();
  for (const std::string& name : *names) TRANSSHIP_TRY(look_at(directory, name, locks));
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
