// What a file system has left, for preflight.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace transship::mover {

struct FileSystemSpace {
  std::string type;         // "ext4" (ext2 and ext3 too), "xfs", "btrfs", "tmpfs", ... or "0x…"
  int64_t free_bytes = 0;   // for an unprivileged user, as statvfs(3)'s f_bavail
  int64_t free_inodes = 0;  // INT64_MAX where the file system makes them as needed (btrfs)
};

// Of the file system that `directory` lies on.
Result<FileSystemSpace> file_system_space(int directory);

}  // namespace transship::mover
