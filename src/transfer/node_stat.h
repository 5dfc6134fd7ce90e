// NodeStat: of an entry, what decides whether it has changed.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace transship::transfer {

// What statx(2) says, as far as it is needed.
struct NodeStat {
  uint64_t inode = 0;
  uint64_t blocks = 0;  // of 512 bytes
  int64_t size = 0;
  int64_t mtime_seconds = 0;
  int64_t ctime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint32_t ctime_nanoseconds = 0;
  uint32_t mode = 0;  // with the type
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
};
NodeStat node_stat(const struct statx& stat);

}  // namespace transship::transfer
