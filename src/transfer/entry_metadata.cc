#include "transfer/entry_metadata.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "transfer/beneath.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

struct Times {
  timespec values[2];
};

Times times_of(const Entry& entry) {
  return {{{0, UTIME_OMIT},
           {static_cast<time_t>(entry.mtime_seconds), static_cast<long>(entry.mtime_nanoseconds)}}};
}

Status set_xattrs(const XattrPlace& place, const Entry& entry) {
  for (const Xattr& xattr : entry.xattrs) {
    if (!is_carried_xattr(xattr.name)) {
      return corrupt(entry.path, "extended attribute " + quoted(xattr.name) + " is none to be set");
    }
    TRANSSHIP_TRY(place.set(xattr, entry.path));
  }
  return {};
}

}  // namespace

Status set_metadata(int fd, const Entry& entry) {
  if (::fchown(fd, entry.uid, entry.gid) < 0) {
    return path_error("set the owner of", entry.path, errno);
  }
  if (::fchmod(fd, entry.mode) < 0) return path_error("set the mode of", entry.path, errno);
  TRANSSHIP_TRY(set_xattrs(XattrPlace(fd), entry));
  if (::futimens(fd, times_of(entry).values) < 0) {
    return path_error("set the times of", entry.path, errno);
  }
  return {};
}

Status set_metadata(int directory, const std::string& name, const Entry& entry) {
  if (::fchownat(directory, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) < 0) {
    return path_error("set the owner of", entry.path, errno);
  }
  if (entry.kind != EntryKind::kSymlink) {
    auto fd = open_beneath(directory, name, O_PATH | O_NOFOLLOW, entry.path);
    if (!fd) return fd.error();
    const std::string itself = "/proc/self/fd/" + std::to_string(fd->get());
    if (::chmod(itself.c_str(), entry.mode) < 0) {
      return path_error("set the mode of", entry.path, errno);
    }
  }
  TRANSSHIP_TRY(set_xattrs(XattrPlace(directory, name), entry));
  if (::utimensat(directory, name.c_str(), times_of(entry).values, AT_SYMLINK_NOFOLLOW) < 0) {
    return path_error("set the times of", entry.path, errno);
  }
  return {};
}

}  // namespace transship::transfer
