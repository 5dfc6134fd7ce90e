#include "mover/destinations.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "mover/migration_directory.h"
#include "mover/record.h"
#include "mover/tree_removal.h"

namespace transship::mover {
namespace {

using nlohmann::json;

constexpr const char* kRecord = "received.json";
constexpr const char* kStaging = "staging";

// One volume in the record. A directory is the same one where path, device and inode are.
struct Received {
  std::string node_path;  // empty for a staged emptyDir
  uint64_t device = 0;
  uint64_t inode = 0;
  bool complete = false;
  std::string digest;
};

json to_value(const Received& received) {
  return {{"nodePath", received.node_path},
          {"device", received.device},
          {"inode", received.inode},
          {"complete", received.complete},
          {"digest", received.digest}};
}

Result<std::map<std::string, Received>> read_all(int directory) {
  auto record = read_record(directory, kRecord);
  if (!record) return record.error();
  std::map<std::string, Received> all;
  if (!*record) return all;
  try {
    for (const auto& [name, value] : (*record)->at("volumes").items()) {
      all[name] = {value.at("nodePath"), value.at("device"), value.at("inode"),
                   value.at("complete"), value.at("digest")};
    }
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kCorrupt, std::string(kRecord) + ": " + problem.what()};
  }
  return all;
}

Status write_all(int directory, const std::map<std::string, Received>& all) {
  json volumes = json::object();
  for (const auto& [name, received] : all) volumes[name] = to_value(received);
  return write_record(directory, kRecord, {{"volumes", std::move(volumes)}});
}

// The record of the directory `fd` at `node_path`, nothing received yet.
Result<Received> identify(int fd, const std::string& node_path) {
  Received received;
  received.node_path = node_path;
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno_error("stat " + received.node_path, errno);
  received.device = status.st_dev;
  received.inode = status.st_ino;
  return received;
}

bool is_in_memory(api::TreeKind kind) {
  return kind == api::TreeKind::kMemory || kind == api::TreeKind::kSharedMemory;
}

bool same_directory(const Received& one, const Received& other) {
  return one.node_path == other.node_path && one.device == other.device && one.inode == other.inode;
}

}  // namespace

Destinations::Destinations(const Node& node, std::string migration_uid)
    : node_(node), migration_uid_(std::move(migration_uid)), memory_(node, migration_uid_) {}

Result<UniqueFd> Destinations::prepare(const api::MoverVolume& volume, bool kept,
                                       const Deadline& deadline) const {
  auto prepared = is_in_memory(volume.kind) ? prepare_memory(volume.name, kept, deadline)
                  : volume.empty_dir || volume.kind == api::TreeKind::kLayer
                      ? prepare_staging(volume.name, kept, deadline)
                      : prepare_volume(volume, kept, deadline);
  if (!prepared) return prepared.error().during("prepare volume " + volume.name);
  return prepared;
}

Result<UniqueFd> Destinations::prepare_volume(const api::MoverVolume& volume, bool kept,
                                              const Deadline& deadline) const {
  auto target = node_.open_directory(volume.node_path);
  if (!target) return target.error();
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  auto all = read_all(home->get());
  if (!all) return all.error();
  auto now = identify(target->get(), volume.node_path);
  if (!now) return now.error();
  const auto before = all->find(volume.name);
  const bool ours = before != all->end() && same_directory(before->second, *now);
  if (!ours) {
    auto fresh = is_fresh(target->get());
    if (!fresh) return fresh.error();
    if (!*fresh) {
      return Error{ErrorCode::kPreconditionFailed,
                   volume.node_path + " on node " + node_.config().name +
                       " is not empty, and this migration did not fill it: nothing is overwritten"};
    }
  }
  (*all)[volume.name] = *now;
  TRANSSHIP_TRY(write_all(home->get(), *all));
  if (ours && !kept) TRANSSHIP_TRY(empty_directory(target->get(), deadline));
  return target;
}

Result<UniqueFd> Destinations::prepare_staging(const std::string& volume, bool kept,
                                               const Deadline& deadline) const {
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  auto all = read_all(home->get());
  if (!all) return all.error();
  (*all)[volume] = Received{};
  TRANSSHIP_TRY(write_all(home->get(), *all));
  auto staging = make_beneath(home->get(), kStaging);
  if (!staging) return staging.error();
  if (!kept) TRANSSHIP_TRY(remove_tree(staging->get(), volume, deadline));
  return make_beneath(staging->get(), volume);
}

Result<UniqueFd> Destinations::prepare_memory(const std::string& tree, bool kept,
                                              const Deadline& deadline) const {
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  auto all = read_all(home->get());
  if (!all) return all.error();
  (*all)[tree] = Received{};
  TRANSSHIP_TRY(write_all(home->get(), *all));
  return kept ? memory_.open(tree) : memory_.renew(tree, deadline);
}

Status Destinations::complete(const std::string& volume, const std::string& digest) const {
  auto home = make_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  auto all = read_all(home->get());
  if (!all) return all.error();
  const auto found = all->find(volume);
  if (found == all->end()) {
    return Error{ErrorCode::kInternal, "volume " + volume + " is complete, but was never prepared"};
  }
  found->second.complete = true;
  found->second.digest = digest;
  return write_all(home->get(), *all);
}

Result<std::string> Destinations::digest(const std::string& volume) const {
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  if (*home) {
    auto all = read_all((*home)->get());
    if (!all) return all.error();
    const auto found = all->find(volume);
    if (found != all->end() && found->second.complete) return found->second.digest;
  }
  return Error{
      ErrorCode::kPreconditionFailed,
      "volume " + volume + " has not been received completely on node " + node_.config().name};
}

Result<UniqueFd> Destinations::open_staged(const std::string& volume) const {
  auto complete = digest(volume);
  if (!complete) return complete.error();
  return open_beneath(node_.raw_view(),
                      migration_path(migration_uid_) + "/" + kStaging + "/" + volume,
                      /*cross_mounts=*/false);
}

Result<std::string> Destinations::path(const api::MoverVolume& tree) const {
  auto complete = digest(tree.name);
  if (!complete) return complete.error();
  if (is_in_memory(tree.kind)) return memory_.path(tree.name);
  return node_.absolute(migration_path(migration_uid_) + "/" + kStaging + "/" + tree.name);
}

Status Destinations::release(bool discard, const Deadline& deadline) const {
  auto home = open_migration_directory(node_, migration_uid_);
  if (!home) return home.error();
  if (!*home) return {};
  auto all = read_all((*home)->get());
  if (!all) return all.error();
  for (const auto& [name, received] : *all) {
    if (!discard || received.node_path.empty()) continue;
    auto target = node_.open_directory(received.node_path);
    if (!target && target.error().code == ErrorCode::kNotFound) continue;
    if (!target) return target.error();
    auto now = identify(target->get(), received.node_path);
    if (!now) return now.error();
    if (!same_directory(received, *now)) continue;
    log::info("discarding what was received", {{"volume", name}, {"path", received.node_path}});
    TRANSSHIP_TRY(empty_directory(target->get(), deadline));
  }
  TRANSSHIP_TRY(memory_.release());
  TRANSSHIP_TRY(check_nothing_mounted(node_, migration_uid_));
  TRANSSHIP_TRY(remove_tree((*home)->get(), kStaging, deadline));
  return remove_record((*home)->get(), kRecord);
}

}  // namespace transship::mover
