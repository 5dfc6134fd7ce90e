// Views of directories through mounts of their own, in no mount namespace (open_tree(2)): nothing
// leads out of them, not even "..", and what is mounted elsewhere later does not show.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::mover {

struct MountView {
  bool recursive = false;   // with the mounts inside
  uint64_t attributes = 0;  // MOUNT_ATTR_… (mount_setattr(2)) to set on it
};

// The mount of the directory, cloned, private; open for reading at the directory. `what` is for
// messages. kPreconditionFailed where the caller may not: it takes CAP_SYS_ADMIN.
Result<UniqueFd> clone_mount(int directory, const std::string& what, const MountView& view);

// The same where `directory` may have been opened in the mount namespace of `process`
// ("/proc/1"), which alone can clone it.
Result<UniqueFd> clone_mount_of(const std::string& process, int directory, const std::string& what,
                                const MountView& view);

// The same of a directory that lies in a clone of the mount of `root`, not in any namespace, and
// under nothing that is mounted: found again by its path. kConflict where it is not there any more.
Result<UniqueFd> clone_again(int root, int directory, const std::string& what,
                             const MountView& view);

enum class VolumeAccess { kRead, kWrite };

// How a copier sees a volume: no device in it can be opened, no program run; for reading only, it
// cannot be changed, access times included.
MountView volume_view(VolumeAccess access);

}  // namespace transship::mover
