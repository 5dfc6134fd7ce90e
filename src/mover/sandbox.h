// The sandbox of a copier: the process that reads or writes volumes and hears what the peer says
// (docs/adr/0013-copiers.md).
#pragma once

#include "base/result.h"
#include "mover/mount_view.h"

namespace transship::mover {

// Puts the calling process, which has no other thread, into it, for good: a mount namespace that
// holds an empty read-only root and its own descriptors (/proc/self/fd), the capabilities of
// reading or writing trees, no_new_privs, and the filter of system calls. Descriptors stay open.
// kPreconditionFailed says what the machine does not allow, and what to do.
Status enter_sandbox(VolumeAccess access);

}  // namespace transship::mover
