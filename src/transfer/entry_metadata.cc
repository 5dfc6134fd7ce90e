#include "transfer/entry_metadata.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "transfer/beneath.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

struct Times {
  timespec values[2];
};

Times times_of(const Metadata& metadata) {
  return {{{0, UTIME_OMIT},
           {static_cast<time_t>(metadata.mtime_seconds),
            static_cast<long>(metadata.mtime_nanoseconds)}}};
}

WriteFailure failure(const char* tried) { return {tried, errno}; }

WriteFailure failure(const char* tried, const Xattr& xattr) {
  const int error = errno;
  return {std::string(tried) + " extended attribute " + quoted(xattr.name) + " of", error};
}

Written drop_xattrs(const XattrPlace& place, const Metadata& metadata) {
  const auto found = place.read("");
  if (!found) return failure("list the extended attributes of");
  for (const Xattr& xattr : *found) {
    const auto same = [&](const Xattr& other) { return other.name == xattr.name; };
    if (std::any_of(metadata.xattrs.begin(), metadata.xattrs.end(), same)) continue;
    if (!place.remove(xattr.name)) return failure("remove", xattr);
  }
  return {};
}

// All but the times, by the two calls that depend on what it is.
template <typename Chown, typename Chmod>
Written set_all(const XattrPlace& place, const Metadata& metadata, const MetadataSteps& steps,
                Chown chown, Chmod chmod) {
  if (steps.owner && chown() < 0) return failure("set the owner of");
  if (steps.drop_xattrs) {
    if (auto failed = drop_xattrs(place, metadata)) return failed;
  }
  if (steps.mode && chmod() < 0) return failure("set the mode of");
  for (const Xattr& xattr : metadata.xattrs) {
    if (!place.set(xattr)) return failure("set", xattr);
  }
  return {};
}

int chmod_special(int directory, const std::string& name, uint32_t mode) {
  auto fd = open_beneath(directory, name, O_PATH | O_NOFOLLOW, name);
  if (!fd) return -1;
  return ::chmod(("/proc/self/fd/" + std::to_string(fd->get())).c_str(), mode);
}

Result<Metadata> metadata_of(const Entry& entry) {
  for (const Xattr& xattr : entry.xattrs) {
    if (!is_carried_xattr(xattr.name)) {
      return corrupt(entry.path, "extended attribute " + quoted(xattr.name) + " is none to be set");
    }
  }
  return Metadata{entry.mode,  entry.uid, entry.gid, entry.mtime_seconds, entry.mtime_nanoseconds,
                  entry.xattrs};
}

Status status_of(const Written& failed, const Entry& entry) {
  return failed ? path_error(failed->tried, entry.path, failed->error) : Status();
}

constexpr MetadataSteps kNew{.owner = true, .mode = true, .drop_xattrs = false};

}  // namespace

Written set_metadata(int fd, const Metadata& metadata, const MetadataSteps& steps) {
  auto failed = set_all(
      XattrPlace(fd), metadata, steps, [&] { return ::fchown(fd, metadata.uid, metadata.gid); },
      [&] { return ::fchmod(fd, metadata.mode); });
  if (failed) return failed;
  if (::futimens(fd, times_of(metadata).values) < 0) return failure("set the times of");
  return {};
}

Written set_metadata(int directory, const std::string& name, bool symlink, const Metadata& metadata,
                     const MetadataSteps& steps) {
  MetadataSteps own = steps;
  own.mode = own.mode && !symlink;
  auto failed = set_all(
      XattrPlace(directory, name), metadata, own,
      [&] {
        return ::fchownat(directory, name.c_str(), metadata.uid, metadata.gid, AT_SYMLINK_NOFOLLOW);
      },
      [&] { return chmod_special(directory, name, metadata.mode); });
  if (failed) return failed;
  if (::utimensat(directory, name.c_str(), times_of(metadata).values, AT_SYMLINK_NOFOLLOW) < 0)
    return failure("set the times of");
  return {};
}

Status set_metadata(int fd, const Entry& entry) {
  auto metadata = metadata_of(entry);
  return metadata ? status_of(set_metadata(fd, *metadata, kNew), entry) : Status(metadata.error());
}

Status set_metadata(int directory, const std::string& name, const Entry& entry) {
  auto metadata = metadata_of(entry);
  if (!metadata) return metadata.error();
  const bool symlink = entry.kind == EntryKind::kSymlink;
  return status_of(set_metadata(directory, name, symlink, *metadata, kNew), entry);
}

}  // namespace transship::transfer
