// Opening names from a held directory so that nothing but that very name in it can be meant: no
// symbolic link, mount point or way up (openat2(2), Linux 5.6).
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::transfer {

// openat2 with RESOLVE_BENEATH, NO_SYMLINKS, NO_XDEV and NO_MAGICLINKS, close-on-exec. `name` may
// have slashes. `path` is for messages. kInvalid for a mount point.
Result<UniqueFd> open_beneath(int directory, const std::string& name, int flags,
                              const std::string& path, mode_t mode = 0);

// As above for reading; without touching the access time where that is allowed. A device on a mount
// that has none (nodev) is ENXIO.
Result<UniqueFd> open_for_reading(int directory, const std::string& name, int extra_flags,
                                  const std::string& path);

// The directory that the entry `path` ("./a/b" or "a/b", of any length) is in, by O_PATH.
Result<UniqueFd> open_parent_beneath(int root, const std::string& path);

// statx of `name` in `directory`, not followed; "" is `directory` itself.
Result<struct statx> stat_beneath(int directory, const std::string& name, const std::string& path);

// Whether opening or reading fails so, as errno says, where the entry is gone or something else has
// its name.
bool is_loss(int error);

bool same_file(const struct statx& a, const struct statx& b);
// Whether content or metadata may have changed in between.
bool unchanged(const struct statx& before, const struct statx& after);

}  // namespace transship::transfer
