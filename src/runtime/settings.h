// Settings: where things are on this node. All but the first come from /etc/transship/runtime.json,
// which need not be there.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "runtime/claim.h"

namespace transship::runtime {

inline constexpr const char* kSettingsFile = "/etc/transship/runtime.json";

struct Settings {
  std::string self;           // this program's own path
  std::string runc = "runc";  // "runc": a path, or a name that PATH finds
  std::string criu;           // "criu": its path; empty: as runc finds it
  // "restoreSeconds": what CRIU has for a container. Less than kubelet waits for a `create`: two
  // minutes (runtimeRequestTimeout).
  std::chrono::seconds restore_deadline{100};
  std::string claims{kClaimsDirectory};
  std::string sandboxes{kSandboxesDirectory};
  // Of containers that were restored, until they are deleted; gone with a reboot, as they are.
  std::string containers = "/run/transship/containers";
  std::string scratch = "/run/transship/restore";  // a directory for each restore under way
};

// kCorrupt or kInvalid where the file is there and is not what it should be.
Result<Settings> read_settings(const std::string& file = kSettingsFile);

}  // namespace transship::runtime
