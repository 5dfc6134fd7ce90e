#include "transfer/entry_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

std::array<timespec, 2> times_of(const Entry& entry) {
  return {{{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
           {.tv_sec = entry.mtime_seconds, .tv_nsec = static_cast<long>(entry.mtime_nanoseconds)}}};
}

}  // namespace

// The order matters: a change of owner takes setuid bits and capabilities away, and a change of mode
// comes after the ACL that it has to agree with.
Status write_metadata(int fd, const Entry& entry, bool replace) {
  if (::fchown(fd, entry.uid, entry.gid) != 0) return path_error("set the owner of", entry.path, errno);
  const XattrPlace place(fd);
  if (replace) {
    auto there = place.read(entry.path);
    if (!there.ok()) return there.error();
    for (const Xattr& xattr : *there) {
      const bool wanted = std::any_of(entry.xattrs.begin(), entry.xattrs.end(),
                                      [&](const Xattr& item) { return item.name == xattr.name; });
      if (!wanted) TRANSSHIP_TRY(place.remove(xattr.name, entry.path));
    }
  }
  for (const Xattr& xattr : entry.xattrs) TRANSSHIP_TRY(place.set(xattr, entry.path));
  if (::fchmod(fd, entry.mode) != 0) return path_error("set the mode of", entry.path, errno);
  if (::futimens(fd, times_of(entry).data()) != 0) return path_error("set the time of", entry.path, errno);
  return {};
}

Status write_metadata_at(int directory, const std::string& name, const Entry& entry) {
  if (::fchownat(directory, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return path_error("set the owner of", entry.path, errno);
  }
  const XattrPlace place(directory, name);
  for (const Xattr& xattr : entry.xattrs) TRANSSHIP_TRY(place.set(xattr, entry.path));
  // A symbolic link has no mode of its own.
  if (entry.kind != EntryKind::kSymlink &&
      ::fchmodat(directory, name.c_str(), entry.mode, AT_SYMLINK_NOFOLLOW) != 0) {
    return path_error("set the mode of", entry.path, errno);
  }
  if (::utimensat(directory, name.c_str(), times_of(entry).data(), AT_SYMLINK_NOFOLLOW) != 0) {
    return path_error("set the time of", entry.path, errno);
  }
  return {};
}

}  // namespace transship::transfer
