#include "mover/locks.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/directory_stream.h"
#include "transfer/beneath.h"
#include "transfer/entry_metadata.h"
#include "transfer/tree_walk.h"

namespace transship::mover {
namespace {

constexpr bool kProjects = false;  // they are the node's

std::string shown(const Lock& lock) { return lock.name.empty() ? "the volume's root" : lock.name; }

// What has the name in the directory, or is the directory itself; `path`: what it is called in the
// locks.
Status look_at(int directory, const std::string& name, const struct statx& stat, std::string path,
               Locks& locks) {
  if ((stat.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) == 0) return {};
  transfer::InodeAttributes found;
  if (const auto failed = transfer::read_inode(directory, name, stat.stx_mode, kProjects, found))
    return transfer::write_error(*failed, path);
  locks.push_back({std::move(path), stat.stx_mode, found.flags});
  return {};
}

Status look_at(int directory, const std::string& name, Locks& locks) {
  auto stat = transfer::stat_beneath(directory, name, name);
  return stat ? look_at(directory, name, *stat, name, locks) : Status(stat.error());
}

// Calls `change` with the directory that a lock's inode is in, and its name there. What is not
// there is passed over.
template <typename Change>
Status each(const Locks& locks, int directory, Change change) {
  for (const Lock& lock : locks) {
    auto parent = transfer::open_parent_beneath(directory, lock.name);
    if (!parent && parent.error().code == ErrorCode::kNotFound) continue;
    if (!parent) return parent.error();
    const std::string name = lock.name.substr(lock.name.rfind('/') + 1);
    auto stat = transfer::stat_beneath(parent->get(), name, lock.name);
    if (!stat && stat.error().code == ErrorCode::kNotFound) continue;
    if (!stat) return stat.error();
    const int in = lock.name.empty() ? directory : parent->get();
    if (const transfer::Written failed = change(in, name, lock))
      return transfer::write_error(*failed, shown(lock));
  }
  return {};
}

}  // namespace

Result<Locks> find_locks(int directory, LockScope scope) {
  Locks locks;
  TRANSSHIP_TRY(look_at(directory, "", locks));
  if (scope == LockScope::kItself) return locks;
  if (scope == LockScope::kChildren) {
    auto names = list_directory(directory);
    if (!names) return names.error();
    for (const std::string& name : *names) TRANSSHIP_TRY(look_at(directory, name, locks));
    return locks;
  }
  transfer::TreeWalk walk(directory, {.strict = false});
  TRANSSHIP_TRY(walk.run([&](const transfer::WalkedEntry& walked) {
    if (walked.parent < 0) return Status();
    return look_at(walked.parent, walked.name, walked.stat, walked.path.substr(2), locks);
  }));
  return locks;
}

Status take_off(const Locks& locks, int directory) {
  return each(locks, directory, [](int in, const std::string& name, const Lock& lock) {
    return transfer::unlock_inode(in, name, lock.mode, kProjects);
  });
}

Status put_on(const Locks& locks, int directory) {
  return each(locks, directory, [](int in, const std::string& name, const Lock& lock) {
    return transfer::lock_inode(in, name, lock.mode, {lock.flags, 0}, kProjects);
  });
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
