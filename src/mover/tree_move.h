// Moving a volume's content from one directory to another of the same mount by renaming.
#pragma once

#include <ctime>

#include "base/result.h"
#include "mover/deadline.h"

namespace transship::mover {

// Renames every child of `from` into `to`; both open for reading, on one mount. Nothing is
// replaced: a name that is there already is kPreconditionFailed, another file system or mount too.
// What was moved before an error stays moved; calling it again goes on.
Status move_children(int from, int to, const Deadline& deadline);

// Whether what is made in the directory gets its project id.
Result<bool> hands_project_down(int directory);

// Where `to` hands a project id down (kubelet gives them to emptyDirs for its quotas), all that is
// in `from` gets it: nothing else could be renamed there, or would be counted. Links, FIFOs,
// devices and sockets keep theirs where the kernel cannot set it (before Linux 6.17). ext4 gives
// none to what is immutable: take that off first (LockScope::kAll).
Status give_project(int from, int to, const Deadline& deadline);

// Gives the directory `to` the owner, xattrs (ACLs among them, SELinux labels not: they are the new
// pod's), mode and inode flags of `from`, and the modification time `modified`: that of `from`
// before anything was moved out of it.
Status copy_root_metadata(int from, int to, timespec modified);

}  // namespace transship::mover
