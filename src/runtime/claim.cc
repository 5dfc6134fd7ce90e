#include "runtime/claim.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "runtime/claim_text.h"
#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

constexpr const char* kLock = "/.lock";
constexpr const char* kSharedMemory = "/.shared-memory";
constexpr const char* kPlaced = "/.placed";

Status remove_tree(const std::string& path) {
  std::error_code problem;
  std::filesystem::remove_all(path, problem);
  if (problem) return errno_error("remove " + path, problem.value());
  return {};
}

}  // namespace

const ClaimedContainer* Claim::find(std::string_view container) const {
  const auto found = std::find_if(containers.begin(), containers.end(),
                                  [&](const auto& each) { return each.name == container; });
  return found == containers.end() ? nullptr : &*found;
}

bool Claim::skips(std::string_view container) const {
  return std::find(skip.begin(), skip.end(), container) != skip.end();
}

PodClaim::PodClaim(std::string claims, std::string pod_uid)
    : claims_(std::move(claims)),
      pod_uid_(std::move(pod_uid)),
      directory_(claims_ + "/" + pod_uid_) {}

Result<PodClaim> PodClaim::open(std::string claims, std::string pod_uid) {
  if (!is_plain_name(pod_uid)) {
    return Error{ErrorCode::kInvalid, "the pod UID " + pod_uid + " is no plain name"};
  }
  return PodClaim(std::move(claims), std::move(pod_uid));
}

Status PodClaim::write(const Claim& claim) const {
  TRANSSHIP_TRY(validate(claim));
  auto there = read();
  if (!there) return there.error();
  if (there->has_value()) {
    if (**there == claim) return sync_directory(claims_);
    return Error{ErrorCode::kAlreadyExists, "the pod " + pod_uid_ +
                                                " has another claim already, of migration " +
                                                (*there)->migration_uid + ": " + directory_};
  }
  TRANSSHIP_TRY(make_directories(claims_));
  const std::string aside = claims_ + "/." + pod_uid_ + ".new";
  TRANSSHIP_TRY(remove_tree(aside));
  TRANSSHIP_TRY(make_directories(aside));
  for (const auto& container : claim.containers) {
    TRANSSHIP_TRY(make_directories(aside + "/" + container.name));
    TRANSSHIP_TRY(
        replace_file(aside + "/" + container.name + "/state", state_text(ContainerState{})));
  }
  TRANSSHIP_TRY(replace_file(aside + kLock, ""));
  TRANSSHIP_TRY(replace_file(aside + "/claim.json", claim_text(claim)));
  if (::rename(aside.c_str(), directory_.c_str()) != 0) {
    return errno_error("rename " + aside + " to " + directory_, errno);
  }
  return sync_directory(claims_);
}

Result<std::optional<Claim>> PodClaim::read() const {
  // The directory without the file is no claim that was never written, but a damaged one.
  struct stat status {};
  if (::lstat(directory_.c_str(), &status) != 0) {
    if (errno == ENOENT) return std::optional<Claim>{};
    return errno_error("look at " + directory_, errno);
  }
  const std::string path = directory_ + "/claim.json";
  auto text = read_file(path);
  if (!text) return text.error();
  if (!text->has_value()) return Error{ErrorCode::kCorrupt, path + " is missing"};
  auto claim = parse_claim(**text);
  if (!claim) return claim.error().during(path);
  return std::optional<Claim>(std::move(*claim));
}

Result<UniqueFd> PodClaim::lock() const {
  const std::string path = directory_ + kLock;
  for (;;) {
    UniqueFd file(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (!file.valid()) return errno_error("open " + path, errno);
    while (::flock(file.get(), LOCK_EX) != 0) {
      if (errno != EINTR) return errno_error("lock " + path, errno);
    }
    // Whoever had it may have taken the claim away, and a new one may be there.
    struct stat held {
    }, named{};
    if (::fstat(file.get(), &held) != 0) return errno_error("look at " + path, errno);
    if (::lstat(path.c_str(), &named) != 0) return errno_error("look at " + path, errno);
    if (held.st_ino == named.st_ino && held.st_dev == named.st_dev) return file;
  }
}

Result<ContainerState> PodClaim::state(const std::string& container) const {
  if (!is_plain_name(container)) {
    return Error{ErrorCode::kInvalid, "the container " + container + " has no plain name"};
  }
  const std::string path = directory_ + "/" + container + "/state";
  auto text = read_file(path);
  if (!text) return text.error();
  // write() made it; one that is gone is no reason to restore again what may have run.
  if (!text->has_value()) return Error{ErrorCode::kCorrupt, path + " is missing"};
  auto state = parse_state(**text);
  if (!state) return state.error().during(path);
  return state;
}

Status PodClaim::set_state(const std::string& container, const ContainerState& state) const {
  if (!is_plain_name(container)) {
    return Error{ErrorCode::kInvalid, "the container " + container + " has no plain name"};
  }
  return replace_file(directory_ + "/" + container + "/state", state_text(state));
}

Result<std::vector<PodClaim::Named>> PodClaim::states() const {
  auto claim = read();
  if (!claim) return claim.error();
  std::vector<Named> all;
  if (!claim->has_value()) return all;
  for (const auto& container : (*claim)->containers) {
    auto each = state(container.name);
    if (!each) return each.error();
    all.emplace_back(container.name, std::move(*each));
  }
  return all;
}

Status PodClaim::cold_start() const {
  auto held = lock();
  if (!held) return held.error();
  auto all = states();
  if (!all) return all.error();
  for (auto& [name, state] : *all) {
    if (state.state != RestoreState::kFailed && state.state != RestoreState::kRestoring) continue;
    state.state = RestoreState::kColdStart;
    TRANSSHIP_TRY(set_state(name, state));
  }
  return {};
}

Status PodClaim::withdraw(const std::string& why) const {
  auto held = lock();
  if (!held) return held.error();
  auto all = states();
  if (!all) return all.error();
  for (const auto& [name, state] : *all) {
    const bool withdrawn = state.state == RestoreState::kFailed && state.message == why;
    if (state.state == RestoreState::kPending || state.state == RestoreState::kRestored ||
        withdrawn)
      continue;
    return Error{ErrorCode::kPreconditionFailed, "container " + name + " of pod " + pod_uid_ +
                                                     " is " + std::string(to_string(state.state))};
  }
  for (const auto& [name, state] : *all)
    TRANSSHIP_TRY(set_state(name, {RestoreState::kFailed, why, state.id}));
  return {};
}

Result<std::string> PodClaim::shared_memory_sandbox() const {
  auto text = read_file(directory_ + kSharedMemory);
  if (!text) return text.error();
  return text->value_or("");
}

Status PodClaim::set_shared_memory_sandbox(const std::string& sandbox_id) const {
  return replace_file(directory_ + kSharedMemory, sandbox_id);
}

Result<bool> PodClaim::volumes_are_placed() const {
  struct stat status {};
  const std::string path = directory_ + kPlaced;
  if (::lstat(path.c_str(), &status) == 0) return true;
  if (errno == ENOENT) return false;
  return errno_error("look at " + path, errno);
}

Status PodClaim::set_volumes_placed() const { return replace_file(directory_ + kPlaced, ""); }

Status PodClaim::remove() const {
  const std::string aside = claims_ + "/." + pod_uid_ + ".gone";
  auto held = lock();
  if (held) {
    TRANSSHIP_TRY(remove_tree(aside));
    if (::rename(directory_.c_str(), aside.c_str()) != 0) {
      return errno_error("rename " + directory_ + " to " + aside, errno);
    }
    TRANSSHIP_TRY(sync_directory(claims_));
  } else if (held.error().code != ErrorCode::kNotFound) {
    return held.error();
  }
  return remove_tree(aside);
}

}  // namespace transship::runtime
