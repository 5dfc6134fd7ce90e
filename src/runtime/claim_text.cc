#include "runtime/claim_text.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

namespace transship::runtime {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::array kStates = {RestoreState::kPending,  RestoreState::kRestoring,
                                RestoreState::kRestored, RestoreState::kRunning,
                                RestoreState::kFailed,   RestoreState::kColdStart};

Error invalid(const std::string& field, const std::string& why) {
  return {ErrorCode::kInvalid, field + ": " + why};
}

bool is_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return ::inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

Status check_path(const std::string& field, const std::string& path) {
  if (path.empty() || is_plain_path(path)) return {};
  return invalid(field, path + " is no absolute path without \"..\"");
}

json value_of(const Claim& claim) {
  json containers = json::array();
  for (const auto& each : claim.containers) {
    containers.push_back({{"name", each.name}, {"layer", each.layer}, {"memory", each.memory}});
  }
  return {{"version", kVersion},
          {"migrationUid", claim.migration_uid},
          {"containers", std::move(containers)},
          {"skip", claim.skip},
          {"sharedMemory", claim.shared_memory},
          {"oldAddress", claim.old_address},
          {"awaitsVolumes", claim.awaits_volumes}};
}

// Throws what nlohmann::json throws.
Claim claim_of(const json& value) {
  Claim claim;
  value.at("migrationUid").get_to(claim.migration_uid);
  for (const json& each : value.at("containers")) {
    claim.containers.push_back({each.at("name").get<std::string>(),
                                each.at("layer").get<std::string>(),
                                each.at("memory").get<std::string>()});
  }
  value.at("skip").get_to(claim.skip);
  value.at("sharedMemory").get_to(claim.shared_memory);
  value.at("oldAddress").get_to(claim.old_address);
  value.at("awaitsVolumes").get_to(claim.awaits_volumes);
  return claim;
}

}  // namespace

std::string_view to_string(RestoreState state) {
  switch (state) {
    case RestoreState::kPending:
      return "Pending";
    case RestoreState::kRestoring:
      return "Restoring";
    case RestoreState::kRestored:
      return "Restored";
    case RestoreState::kRunning:
      return "Running";
    case RestoreState::kFailed:
      return "Failed";
    case RestoreState::kColdStart:
      return "ColdStart";
  }
  return "Unknown";
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

bool is_plain_path(std::string_view path) {
  if (path.size() < 2 || path.front() != '/' || path.find('\0') != std::string_view::npos) {
    return false;
  }
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view component = path.substr(0, path.find('/'));
    if (component.empty() || component == "." || component == "..") return false;
    path.remove_prefix(component.size());
  }
  return true;
}

Status validate(const Claim& claim) {
  std::set<std::string_view> names;
  for (const auto& container : claim.containers) {
    if (!is_plain_name(container.name) || !names.insert(container.name).second) {
      return invalid("containers", "the name \"" + container.name + "\" is doubled or not plain");
    }
    TRANSSHIP_TRY(check_path("containers." + container.name + ".layer", container.layer));
    TRANSSHIP_TRY(check_path("containers." + container.name + ".memory", container.memory));
    if (container.layer.empty() && container.memory.empty()) {
      return invalid("containers." + container.name, "it has neither layer nor memory");
    }
  }
  for (const auto& name : claim.skip) {
    if (!is_plain_name(name) || !names.insert(name).second) {
      return invalid("skip", "the name \"" + name + "\" is doubled or not plain");
    }
  }
  TRANSSHIP_TRY(check_path("sharedMemory", claim.shared_memory));
  if (!claim.old_address.empty() && !is_address(claim.old_address)) {
    return invalid("oldAddress", claim.old_address + " is no IP address");
  }
  return {};
}

std::string claim_text(const Claim& claim) { return value_of(claim).dump(2) + "\n"; }

Result<Claim> parse_claim(std::string_view text) {
  try {
    const json value = json::parse(text);
    if (value.at("version") != kVersion) {
      return invalid("version", "it is " + value.at("version").dump() + ", and only " +
                                    std::to_string(kVersion) + " is known here");
    }
    Claim claim = claim_of(value);
    TRANSSHIP_TRY(validate(claim));
    return claim;
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kCorrupt, problem.what()};
  }
}

std::string state_text(const ContainerState& state) {
  const json value = {
      {"state", to_string(state.state)}, {"message", state.message}, {"id", state.id}};
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<ContainerState> parse_state(std::string_view text) {
  try {
    const json value = json::parse(text);
    const std::string name = value.at("state").get<std::string>();
    for (const RestoreState state : kStates) {
      if (to_string(state) == name) {
        return ContainerState{state, value.at("message").get<std::string>(),
                              value.at("id").get<std::string>()};
      }
    }
    return Error{ErrorCode::kCorrupt, "there is no state " + name};
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kCorrupt, problem.what()};
  }
}

}  // namespace transship::runtime
