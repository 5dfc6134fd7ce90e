#include "mover/checkpoint_tools.h"

#include <linux/capability.h>
#include <sys/utsname.h>

#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <utility>

#include "base/log.h"
#include "mover/node_command.h"

namespace transship::mover {
namespace {

constexpr std::chrono::seconds kTimeout{20};

using Version = std::pair<int, int>;

// The first "major.minor" in the text.
std::optional<Version> version_in(std::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (std::isdigit(static_cast<unsigned char>(text[at])) == 0) continue;
    const std::string rest(text.substr(at));
    char* dot = nullptr;
    const long first = std::strtol(rest.c_str(), &dot, 10);
    if (*dot != '.' || std::isdigit(static_cast<unsigned char>(dot[1])) == 0) {
      at += static_cast<size_t>(dot - rest.c_str());
      continue;
    }
    return Version{static_cast<int>(first), static_cast<int>(std::strtol(dot + 1, nullptr, 10))};
  }
  return std::nullopt;
}

Result<std::string> ask(const Node& node, const std::string& program, const Deadline& deadline) {
  auto end = run_on_node(node, {{program, "--version"}, {}}, "tools", deadline);
  if (!end && end.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kPreconditionFailed,
                 end.error().message + ": install it there; without it memory cannot be moved"};
  }
  if (!end) return end.error();
  if (end->status == 0) return end->output;
  return Error{ErrorCode::kPreconditionFailed,
               program + " --version on node " + node.config().name + " ended with status " +
                   std::to_string(end->status) + ": " + end->output};
}

uint64_t effective_capabilities() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("CapEff:")) return std::strtoull(line.c_str() + 7, nullptr, 16);
  }
  return 0;
}

}  // namespace

Status check_criu(std::string_view criu, std::string_view kernel) {
  const auto version = version_in(criu);
  if (!version) {
    return Error{ErrorCode::kPreconditionFailed,
                 "criu --version says no version: " + std::string(criu.substr(0, 200))};
  }
  const auto running = version_in(kernel);
  if (*version >= Version{4, 2} || (running && *running < Version{6, 16})) return {};
  return Error{ErrorCode::kPreconditionFailed,
               "CRIU " + std::to_string(version->first) + "." + std::to_string(version->second) +
                   " does not know the sockets of kernel " + std::string(kernel) +
                   ": install CRIU 4.2 or newer on the node"};
}

Status check_capabilities(uint64_t effective) {
  struct Capability {
    int number;
    const char* name;
  };
  constexpr std::array<Capability, 5> kNeeded = {
      {{CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
       {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
       {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
       {CAP_IPC_OWNER, "CAP_IPC_OWNER"},
       {CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"}}};
  const auto has = [effective](int number) { return (effective >> number & 1U) != 0; };
  std::string missing;
  for (const Capability& needed : kNeeded) {
    if (!has(needed.number)) missing += std::string(missing.empty() ? "" : ", ") + needed.name;
  }
  if (!has(CAP_SYS_RESOURCE)) {
    log::warning("the mover lacks CAP_SYS_RESOURCE: CRIU may fail for processes of other users",
                 {});
  }
  if (missing.empty()) return {};
  return Error{ErrorCode::kPreconditionFailed,
               "the mover lacks " + missing + ", which CRIU needs: is its pod privileged?"};
}

Status check_checkpoint_tools(const Node& node, const Deadline& deadline) {
  const Deadline limit = deadline.at_most(kTimeout);
  TRANSSHIP_TRY(check_capabilities(effective_capabilities()));
  auto runc = ask(node, "runc", limit);
  if (!runc) return runc.error();
  auto criu = ask(node, "criu", limit);
  if (!criu) return criu.error();
  utsname system{};
  if (::uname(&system) != 0) return errno_error("ask for the kernel's version", errno);
  return check_criu(*criu, system.release);
}

}  // namespace transship::mover
