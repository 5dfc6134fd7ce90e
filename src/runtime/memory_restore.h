// Restoring one container's memory: `runc restore` in place of `runc create`. What it leaves is a
// container of which every process is frozen before its next instruction.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/arguments.h"
#include "runtime/bundle.h"
#include "runtime/permit.h"
#include "runtime/runc.h"
#include "runtime/settings.h"

namespace transship::runtime {

struct MemoryImages {
  std::string directory;  // as `runc checkpoint` has written it; not changed
  // The first restore into a sandbox also brings what the pod shares: System V shared memory,
  // semaphores and message queues, of which every image has a copy.
  bool first = true;
};

// Within the settings' deadline. On failure nothing of the container is left, and the message has
// the lines of CRIU's log that tell why; the log is then in `log`, a file's path. `permit` was
// granted, and is taken on success.
Status restore_memory(const Settings& settings, const Runc& runc, const Arguments& arguments,
                      const Bundle& bundle, const MemoryImages& images, const Permit& permit,
                      const std::string& log);

// Of CRIU's log: the first lines that tell what went wrong, at most three, without what it says
// every time. Where there are none, the line before the restore failed; empty where it did not.
std::string telling_lines(const std::string& log);

}  // namespace transship::runtime
