// The containerd that runs on the node: found through /proc, and started again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "base/result.h"

namespace transship::runtime {

struct ContainerdProcess {
  pid_t pid = 0;
  // When it started, in clock ticks since boot: with the number it names one process for ever.
  std::string started;
  std::string config = "/etc/containerd/config.toml";
  std::string address;  // of its socket, where the command line says so
  std::string path;     // its PATH, where its shims find runc and runc finds criu
  std::string unit;     // of systemd, e.g. "containerd.service"; empty without one

  // "PID STARTED".
  [[nodiscard]] std::string identity() const { return std::to_string(pid) + " " + started; }
};

// The one process called containerd in the mount namespace of the node's first process. `proc` is
// the node's /proc. kNotFound where there is none, kPreconditionFailed where there are more.
Result<ContainerdProcess> find_containerd(const std::string& proc);

// Ends `old` (by `systemctl restart` where it is a service of systemd, else by SIGTERM, which an
// init system that starts it again has to answer) and waits until another one answers at `socket`.
// Containers run on meanwhile. kTimeout where none does before `deadline`.
Status restart_containerd(const ContainerdProcess& old, const std::string& socket,
                          std::chrono::seconds deadline);

}  // namespace transship::runtime
