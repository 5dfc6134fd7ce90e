// Setting owner, mode, extended attributes, modification time, inode flags and project id, in the
// order in which none undoes another: a change of owner clears set-user-ID and security.capability,
// chmod(2) changes an ACL's mask, and everything but the times themselves is free to change the
// times. Flags that forbid changes (InodeAttributes::kLocking) come when all else is right, by
// lock_inode.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "transfer/entry.h"
#include "transfer/xattrs.h"

namespace transship::transfer {

// What failed ("set the owner of"), errno and what to do; the path is the caller's to add.
struct WriteFailure {
  std::string tried;
  int error = 0;
  std::string remedy{};
};
Error write_error(const WriteFailure& failed, std::string_view path);
using Written = std::optional<WriteFailure>;

struct Metadata {
  uint32_t mode = 0;  // the permission bits, 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  std::span<const Xattr> xattrs;
  bool directory = false;
  InodeAttributes attributes;
};

// What is left out is known to be right already.
struct MetadataSteps {
  bool owner = true;
  bool mode = true;
  bool drop_xattrs = true;  // carried ones that the metadata do not have
  bool attributes = true;
  bool projects = true;  // false: project ids are not carried
  XattrScope xattrs = XattrScope::kVolume;
};

// Of an open file or directory.
Written set_metadata(int fd, const Metadata& metadata, const MetadataSteps& steps);

// Of anything else, by its name in an open directory. A symbolic link has no mode.
Written set_metadata(int directory, const std::string& name, bool symlink, const Metadata& metadata,
                     const MetadataSteps& steps);

// Of an entry of a stream, which was just made: it has no attributes yet.
Status set_metadata(int fd, const Entry& entry, bool projects);
Status set_metadata(int directory, const std::string& name, const Entry& entry, bool projects);

// All flags and the project id, of what has `name` in the directory, or of `fd` itself where that
// is empty. Nothing about the inode can be changed afterwards where there are locking ones.
Written lock_inode(int fd, const std::string& name, uint32_t mode,
                   const InodeAttributes& attributes, bool projects);
// Takes all flags off, so that it can be changed; projinherit only where `projects` are carried.
Written unlock_inode(int fd, const std::string& name, uint32_t mode, bool projects);
Written read_inode(int fd, const std::string& name, uint32_t mode, bool projects,
                   InodeAttributes& found);

}  // namespace transship::transfer
