// Building a directory tree after another one, which stays as it is: by hard links where the
// destination is to be the same files, by copies where it is to have its own.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

enum class BuildMode {
  kLink,  // everything but directories is the same inode; copied where links cannot be (EXDEV)
  kCopy,
};

// Makes what is in `from` also in `to`, which exists, and gives `to` the owner, mode, extended
// attributes and times of `from`. Names that are in the way are replaced, others stay. Owners,
// modes, times, extended attributes (ACLs, capabilities, trusted.overlay.opaque), holes, hard
// links, fifos, devices and overlay's whiteouts are as they were; no symbolic link is followed.
// On failure some of it is there; saying it again mends that.
Status build_tree(const std::string& from, const std::string& to, BuildMode mode);

// Removes what is in `path`, which stays. Symbolic links are not followed.
Status empty_tree(const std::string& path);

}  // namespace transship::runtime
