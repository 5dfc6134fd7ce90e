// Entry: one name of a tree with all its metadata, as the stream carries it and the manifest sums
// it up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transfer/inode_attributes.h"

struct statx;

namespace transship::transfer {

// The letters of find's %y.
enum class EntryKind : char {
  kRegular = 'f',
  kDirectory = 'd',
  kSymlink = 'l',
  kFifo = 'p',
  kCharDevice = 'c',
  kBlockDevice = 'b',
  kSocket = 's',
};

struct Xattr {
  std::string name;  // "user.mime_type"
  std::string value;
  bool operator==(const Xattr&) const = default;
};

struct Entry {
  std::string path;  // "." for the root, else "./a/b"
  EntryKind kind = EntryKind::kRegular;
  uint32_t mode = 0;  // the permission bits, 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;  // as timespec: the nanoseconds count forward, before 1970, too
  uint32_t mtime_nanoseconds = 0;
  int64_t size = 0;           // regular files
  std::string link_target;    // symbolic links
  uint32_t device_major = 0;  // devices
  uint32_t device_minor = 0;
  std::vector<Xattr> xattrs;  // sorted by name
  InodeAttributes attributes;
};

// Everything but path, link target and attributes. kInvalid for a type that Linux does not have.
Result<Entry> entry_of(const struct statx& stat);

// Of st_mode's type bits; nullopt for those that Linux does not have.
std::optional<EntryKind> entry_kind(uint32_t mode);

// The type bits for mknod(2) and the like.
uint32_t type_bits(EntryKind kind);

// `path` in quotes, for messages: control characters and bytes that are not UTF-8 escaped, and
// shortened in the middle where it is very long.
std::string quoted(std::string_view path);

// errno_error with the path: `open "./a": No such file or directory`.
Error path_error(std::string_view tried, std::string_view path, int errno_value);

// kCorrupt about what came in the stream.
Error corrupt(std::string_view path, std::string_view why);

// Why a name could not be made; one that is there already came twice.
Error creation_error(std::string_view tried, std::string_view path, int errno_value);

}  // namespace transship::transfer
