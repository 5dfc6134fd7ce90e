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

Written set_unlocking(AttributePlace place, const Metadata& metadata, const MetadataSteps& steps) {
  if (!steps.attributes) return {};
  place.directory = metadata.directory;
  place.projects = steps.projects;
  InodeAttributes attributes = metadata.attributes;
  attributes.flags &= static_cast<uint8_t>(~InodeAttributes::kLocking);
  if (auto failed = set_attributes(place, attributes))
    return WriteFailure{"set " + failed->what + " of", failed->error, failed->remedy};
  return {};
}

// Where flags of what has a name can be reached: files and directories by a descriptor.
struct OpenPlace {
  UniqueFd own;
  AttributePlace place;
};

std::optional<OpenPlace> open_place(int fd, const std::string& name, uint32_t mode) {
  OpenPlace open;
  open.place = {fd, name, S_ISDIR(mode), true};
  if (name.empty() || !(S_ISDIR(mode) || S_ISREG(mode))) return open;
  auto found = open_for_reading(fd, name, 0, name);
  if (!found) return std::nullopt;
  open.own = std::move(found).value();
  open.place.fd = open.own.get();
  open.place.name.clear();
  return open;
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
  return Metadata{entry.mode,
                  entry.uid,
                  entry.gid,
                  entry.mtime_seconds,
                  entry.mtime_nanoseconds,
                  entry.xattrs,
                  entry.kind == EntryKind::kDirectory,
                  entry.attributes};
}

Status status_of(const Written& failed, const Entry& entry) {
  return failed ? write_error(*failed, entry.path) : Status();
}

MetadataSteps steps_of(const Entry& entry, bool projects) {
  // A directory may have been there, and inherit its project id to all that is in it.
  const bool attributes = entry.attributes.any() || entry.kind == EntryKind::kDirectory;
  return {.owner = true,
          .mode = true,
          .drop_xattrs = false,
          .attributes = attributes,
          .projects = projects,
          .xattrs = XattrScope::kVolume};
}

}  // namespace

Error write_error(const WriteFailure& failed, std::string_view path) {
  Error error = creation_error(failed.tried, path, failed.error);
  if (!failed.remedy.empty()) error.message += ": " + failed.remedy;
  return error;
}

Written set_metadata(int fd, const Metadata& metadata, const MetadataSteps& steps) {
  auto failed = set_all(
      XattrPlace(fd, steps.xattrs), metadata, steps,
      [&] { return ::fchown(fd, metadata.uid, metadata.gid); },
      [&] { return ::fchmod(fd, metadata.mode); });
  if (failed) return failed;
  if (::futimens(fd, times_of(metadata).values) < 0) return failure("set the times of");
  return set_unlocking({fd}, metadata, steps);
}

Written set_metadata(int directory, const std::string& name, bool symlink, const Metadata& metadata,
                     const MetadataSteps& steps) {
  MetadataSteps own = steps;
  own.mode = own.mode && !symlink;
  auto failed = set_all(
      XattrPlace(directory, name, own.xattrs), metadata, own,
      [&] {
        return ::fchownat(directory, name.c_str(), metadata.uid, metadata.gid, AT_SYMLINK_NOFOLLOW);
      },
      [&] { return chmod_special(directory, name, metadata.mode); });
  if (failed) return failed;
  if (::utimensat(directory, name.c_str(), times_of(metadata).values, AT_SYMLINK_NOFOLLOW) < 0)
    return failure("set the times of");
  return set_unlocking({directory, name}, metadata, steps);
}

Status set_metadata(int fd, const Entry& entry, bool projects) {
  auto metadata = metadata_of(entry);
  return metadata ? status_of(set_metadata(fd, *metadata, steps_of(entry, projects)), entry)
                  : Status(metadata.error());
}

Status set_metadata(int directory, const std::string& name, const Entry& entry, bool projects) {
  auto metadata = metadata_of(entry);
  if (!metadata) return metadata.error();
  const bool symlink = entry.kind == EntryKind::kSymlink;
  const MetadataSteps steps = steps_of(entry, projects);
  return status_of(set_metadata(directory, name, symlink, *metadata, steps), entry);
}

Written lock_inode(int fd, const std::string& name, uint32_t mode,
                   const InodeAttributes& attributes, bool projects) {
  auto open = open_place(fd, name, mode);
  if (!open) return failure("open");
  open->place.projects = projects;
  if (auto failed = set_attributes(open->place, attributes))
    return WriteFailure{"set " + failed->what + " of", failed->error, failed->remedy};
  return {};
}

Written unlock_inode(int fd, const std::string& name, uint32_t mode, bool projects) {
  auto open = open_place(fd, name, mode);
  if (!open) return failure("open");
  open->place.projects = projects;
  if (!clear_flags(open->place)) return failure("take the flags off");
  return {};
}

Written read_inode(int fd, const std::string& name, uint32_t mode, bool projects,
                   InodeAttributes& found) {
  auto open = open_place(fd, name, mode);
  if (!open) return failure("open");
  open->place.projects = projects;
  if (!read_attributes(open->place, found)) return failure("read the flags of");
  return {};
}

}  // namespace transship::transfer
