// Setting owner, mode, extended attributes and modification time, in the order in which none undoes
// another: a change of owner clears set-user-ID and security.capability, chmod(2) changes an ACL's
// mask, and everything but the times themselves is free to change the times.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "transfer/entry.h"

namespace transship::transfer {

// What failed ("set the owner of"), and errno; the path is the caller's to add.
struct WriteFailure {
  std::string tried;
  int error = 0;
};
using Written = std::optional<WriteFailure>;

struct Metadata {
  uint32_t mode = 0;  // the permission bits, 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  std::span<const Xattr> xattrs;
};

// What is left out is known to be right already.
struct MetadataSteps {
  bool owner = true;
  bool mode = true;
  bool drop_xattrs = true;  // carried ones that the metadata do not have
};

// Of an open file or directory.
Written set_metadata(int fd, const Metadata& metadata, const MetadataSteps& steps);

// Of anything else, by its name in an open directory. A symbolic link has no mode.
Written set_metadata(int directory, const std::string& name, bool symlink, const Metadata& metadata,
                     const MetadataSteps& steps);

// Of an entry of a stream, which was just made: it has no attributes yet.
Status set_metadata(int fd, const Entry& entry);
Status set_metadata(int directory, const std::string& name, const Entry& entry);

}  // namespace transship::transfer
