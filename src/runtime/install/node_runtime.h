// transship-runtime on a node: put there, and taken away again.
//
// Everything is done with the node's own paths: the caller is in the mount namespace of the node's
// first process and sees the node's processes. Each step may be repeated, and each file appears or
// goes by one rename: after an end at any point the next call goes on.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"

namespace transship::runtime {

struct NodeRuntimeConfig {
  std::string program = "/opt/transship/bin/transship-runtime";
  std::string settings = "/etc/transship/runtime.json";
  std::string record = "/run/transship/containerd";  // on a file system that a boot empties
  std::chrono::seconds restart_deadline{90};
  std::function<void(const std::string&)> tell;  // a line for people on each thing done
};

// Checks runc and CRIU, puts the program `source` (a descriptor) at config.program, adds the
// handler to containerd's imported files and starts containerd again where it does not know the
// handler as it is now. Where containerd's own program does not read the drop-in as it is meant, or
// no containerd comes back with it, the drop-in is as it was before, and containerd started again
// with that. kPreconditionFailed says what the node lacks.
Status install_runtime(const NodeRuntimeConfig& config, int source);

// Takes the drop-in away, starts containerd again, and removes the program.
// kPreconditionFailed names the pods that still use it; then nothing is changed.
Status uninstall_runtime(const NodeRuntimeConfig& config);

}  // namespace transship::runtime
