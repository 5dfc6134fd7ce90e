// The sandbox of a copier: the process that reads or writes volumes and hears what the peer says
// (docs/adr/0013-copiers.md).
#pragma once

#include <string>

#include "base/result.h"
#include "mover/mount_view.h"

namespace transship::mover {

struct Sandbox {
  VolumeAccess access = VolumeAccess::kRead;
  std::string tls_directory;  // shown at kSandboxTls, read-only; empty: none
};

inline constexpr const char* kSandboxTls = "/tls";

// Puts the calling process, which has no other thread, into it, for good: a mount namespace that
// holds an empty read-only root, the TLS files and its own descriptors (/proc/self/fd), the
// capabilities of reading or writing trees, no_new_privs, and the filter of system calls.
// Descriptors stay open. kPreconditionFailed says what the machine does not allow, and what to do.
Status enter_sandbox(const Sandbox& sandbox);

}  // namespace transship::mover
