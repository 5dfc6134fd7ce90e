#include "transfer/inode_attributes.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace transship::transfer {
namespace {

// file_getattr(2) and file_setattr(2), Linux 6.17; the same numbers on all architectures.
constexpr long kFileGetAttr = 468;
constexpr long kFileSetAttr = 469;
struct FileAttr {
  uint64_t xflags = 0;
  uint32_t extent_size = 0;
  uint32_t extents = 0;
  uint32_t project = 0;
  uint32_t cow_extent_size = 0;
};

struct FlagName {
  uint8_t flag;
  uint32_t xflag;  // of FS_IOC_FSGETXATTR; 0 for what only FS_IOC_GETFLAGS has
  std::string_view text;
  std::string_view archive;  // libarchive's
};
// In libarchive's order.
constexpr std::array kFlags = {
    FlagName{InodeAttributes::kAppendOnly, FS_XFLAG_APPEND, "append-only", "sappnd"},
    FlagName{InodeAttributes::kImmutable, FS_XFLAG_IMMUTABLE, "immutable", "schg"},
    FlagName{InodeAttributes::kNoDump, FS_XFLAG_NODUMP, "nodump", "nodump"},
    FlagName{InodeAttributes::kNoAtime, FS_XFLAG_NOATIME, "noatime", "noatime"},
    FlagName{InodeAttributes::kSync, FS_XFLAG_SYNC, "sync", "sync"},
    FlagName{InodeAttributes::kDirSync, 0, "dirsync", "dirsync"},
    FlagName{InodeAttributes::kProjectInherit, FS_XFLAG_PROJINHERIT, "projinherit", "projinherit"},
};

constexpr uint32_t xflags_of(uint8_t flags) {
  uint32_t xflags = 0;
  for (const FlagName& one : kFlags) xflags |= (flags & one.flag) != 0 ? one.xflag : 0;
  return xflags;
}

uint8_t flags_of(uint64_t xflags) {
  uint8_t flags = 0;
  for (const FlagName& one : kFlags)
    flags = static_cast<uint8_t>(flags | ((xflags & one.xflag) != 0 ? one.flag : 0U));
  return flags;
}

// Those that the place has a say in.
uint8_t scope(const AttributePlace& place) {
  unsigned flags = InodeAttributes::carried(place.directory, /*regular=*/place.name.empty());
  if (!place.projects) flags &= ~unsigned{InodeAttributes::kProjectInherit};
  return static_cast<uint8_t>(flags);
}

bool is_unsupported(int error) {
  return error == ENOTTY || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

// As much as the kernel shows without it.
bool read_by_stat(const AttributePlace& place, FileAttr& found) {
  struct statx stat {};
  if (::statx(place.fd, place.name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS, &stat) < 0)
    return false;
  found = {};
  if ((stat.stx_attributes & STATX_ATTR_IMMUTABLE) != 0) found.xflags |= FS_XFLAG_IMMUTABLE;
  if ((stat.stx_attributes & STATX_ATTR_APPEND) != 0) found.xflags |= FS_XFLAG_APPEND;
  if ((stat.stx_attributes & STATX_ATTR_NODUMP) != 0) found.xflags |= FS_XFLAG_NODUMP;
  return true;
}

bool read_raw(const AttributePlace& place, FileAttr& found) {
  if (!place.name.empty()) {
    if (::syscall(kFileGetAttr, place.fd, place.name.c_str(), &found, sizeof found,
                  AT_SYMLINK_NOFOLLOW) == 0)
      return true;
    // EPERM: a filter of system calls that does not know it.
    return (is_unsupported(errno) || errno == EPERM) && read_by_stat(place, found);
  }
  fsxattr attributes{};
  if (::ioctl(place.fd, FS_IOC_FSGETXATTR, &attributes) < 0) return false;
  found = {attributes.fsx_xflags, attributes.fsx_extsize, attributes.fsx_nextents,
           attributes.fsx_projid, attributes.fsx_cowextsize};
  return true;
}

bool write_raw(const AttributePlace& place, const FileAttr& wanted) {
  if (!place.name.empty()) {
    return ::syscall(kFileSetAttr, place.fd, place.name.c_str(), &wanted, sizeof wanted,
                     AT_SYMLINK_NOFOLLOW) == 0;
  }
  fsxattr attributes{};
  attributes.fsx_xflags = static_cast<uint32_t>(wanted.xflags);
  attributes.fsx_extsize = wanted.extent_size;
  attributes.fsx_projid = wanted.project;
  attributes.fsx_cowextsize = wanted.cow_extent_size;
  return ::ioctl(place.fd, FS_IOC_FSSETXATTR, &attributes) == 0;
}

// Which only the older call knows.
bool read_dir_sync(const AttributePlace& place, InodeAttributes& found) {
  if (!place.directory || !place.name.empty()) return true;
  unsigned flags = 0;
  if (::ioctl(place.fd, FS_IOC_GETFLAGS, &flags) < 0) return is_unsupported(errno);
  if ((flags & FS_DIRSYNC_FL) != 0) found.flags |= InodeAttributes::kDirSync;
  return true;
}

bool write_dir_sync(const AttributePlace& place, bool wanted) {
  unsigned flags = 0;
  if (::ioctl(place.fd, FS_IOC_GETFLAGS, &flags) < 0) return false;
  flags = wanted ? flags | FS_DIRSYNC_FL : flags & ~static_cast<unsigned>(FS_DIRSYNC_FL);
  return ::ioctl(place.fd, FS_IOC_SETFLAGS, &flags) == 0;
}

AttributeFailure failure(const AttributePlace& place, std::string what, bool project) {
  const int error = errno;
  AttributeFailure failed{std::move(what), error, ""};
  if (error == EPERM) {
    failed.remedy = "it takes root with CAP_LINUX_IMMUTABLE";
  } else if (is_unsupported(error) && !place.name.empty()) {
    failed.remedy =
        "neither a link, FIFO, device or socket can have it there (XFS with Linux 6.17 or newer "
        "can): take it off at the source";
  } else if (is_unsupported(error)) {
    failed.remedy = project ? "the target's file system has no project ids: clear them at the "
                              "source (chattr -R -P -p 0), or choose a volume on XFS"
                            : "the target's file system cannot hold it: take it off at the source "
                              "with chattr, or choose a volume on another file system";
  }
  return failed;
}

FileAttr with(const FileAttr& now, const AttributePlace& place, const InodeAttributes& wanted) {
  FileAttr then = now;
  then.xflags =
      (now.xflags & ~uint64_t{xflags_of(scope(place))}) | xflags_of(wanted.flags & scope(place));
  if (place.projects) then.project = wanted.project;
  return then;
}

// After all at once was refused: which one it was.
AttributeFailure find_failure(const AttributePlace& place, const FileAttr& now,
                              const InodeAttributes& wanted) {
  const int first = errno;
  FileAttr try_one = now;
  if (place.projects && wanted.project != now.project) {
    try_one.project = wanted.project;
    if (!write_raw(place, try_one))
      return failure(place, "project id " + std::to_string(wanted.project), /*project=*/true);
  }
  for (const FlagName& one : kFlags) {
    const bool set = (wanted.flags & scope(place) & one.flag) != 0;
    if (!set || one.xflag == 0) continue;
    try_one.xflags |= one.xflag;
    if (!write_raw(place, try_one))
      return failure(place, "the flag " + std::string(one.text), /*project=*/false);
  }
  errno = first;
  return failure(place, "the flags", /*project=*/false);
}

}  // namespace

bool read_attributes(const AttributePlace& place, InodeAttributes& found) {
  found = {};
  FileAttr raw;
  if (!read_raw(place, raw)) return is_unsupported(errno);
  found.flags = flags_of(raw.xflags);
  if (place.projects) found.project = raw.project;
  if (!read_dir_sync(place, found)) return false;
  found.flags &= scope(place);
  return true;
}

std::optional<AttributeFailure> set_attributes(const AttributePlace& place,
                                               const InodeAttributes& wanted) {
  InodeAttributes have;
  if (!read_attributes(place, have)) return failure(place, "the flags", /*project=*/false);
  if (have == wanted) return {};
  constexpr uint8_t kDirSync = InodeAttributes::kDirSync;
  // Before one that would forbid it.
  if (((have.flags ^ wanted.flags) & kDirSync) != 0 &&
      !write_dir_sync(place, (wanted.flags & kDirSync) != 0))
    return failure(place, "the flag dirsync", /*project=*/false);
  FileAttr now;
  if (!read_raw(place, now)) {
    if (wanted.flags == kDirSync && wanted.project == 0) return {};
    return find_failure(place, now, wanted);
  }
  const FileAttr then = with(now, place, wanted);
  if (then.xflags == now.xflags && then.project == now.project) return {};
  if (write_raw(place, then)) return {};
  return find_failure(place, now, wanted);
}

bool clear_flags(const AttributePlace& place) {
  InodeAttributes have;
  if (!read_attributes(place, have)) return false;
  if (have.flags == 0) return true;
  FileAttr now;
  if (!read_raw(place, now)) return false;
  now.xflags &= ~uint64_t{xflags_of(scope(place))};
  if (!write_raw(place, now)) return false;
  return (have.flags & InodeAttributes::kDirSync) == 0 || write_dir_sync(place, false);
}

std::string flag_names(uint8_t flags) {
  std::string text;
  for (const FlagName& one : kFlags) {
    if ((flags & one.flag) == 0) continue;
    if (!text.empty()) text += ',';
    text += one.archive;
  }
  return text;
}

std::optional<uint8_t> parse_flag_names(std::string_view text) {
  unsigned flags = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    for (const FlagName& one : kFlags) flags |= name == one.archive ? one.flag : 0U;
  }
  const auto parsed = static_cast<uint8_t>(flags);
  if (parsed == 0 || flag_names(parsed) != text) return std::nullopt;
  return parsed;
}

}  // namespace transship::transfer
