#include "mover/file_system_space.h"

#include <sys/statfs.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <utility>

namespace transship::mover {
namespace {

// statfs(2) lists the magic numbers.
std::string type_name(uint32_t magic) {
  static constexpr std::array<std::pair<uint32_t, const char*>, 9> kTypes = {
      {{0xEF53, "ext4"},
       {0x58465342, "xfs"},
       {0x9123683E, "btrfs"},
       {0x01021994, "tmpfs"},
       {0x794C7630, "overlay"},
       {0x2FC12FC1, "zfs"},
       {0x6969, "nfs"},
       {0xF2F52010, "f2fs"},
       {0xCA451A4E, "bcachefs"}}};
  for (const auto& [number, name] : kTypes) {
    if (number == magic) return name;
  }
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "0x%x", magic);
  return text.data();
}

}  // namespace

Result<FileSystemSpace> file_system_space(int directory) {
  struct statfs status {};
  if (::fstatfs(directory, &status) != 0)
    return errno_error("read the file system's free space", errno);
  FileSystemSpace space;
  space.type = type_name(static_cast<uint32_t>(status.f_type));
  space.free_bytes = static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_bsize);
  space.free_inodes = status.f_files == 0 ? std::numeric_limits<int64_t>::max()
                                          : static_cast<int64_t>(status.f_ffree);
  return space;
}

}  // namespace transship::mover
