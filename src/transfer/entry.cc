#include "transfer/entry.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.h"

namespace transship::transfer {

std::optional<EntryKind> entry_kind(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return EntryKind::kRegular;
    case S_IFDIR:
      return EntryKind::kDirectory;
    case S_IFLNK:
      return EntryKind::kSymlink;
    case S_IFIFO:
      return EntryKind::kFifo;
    case S_IFCHR:
      return EntryKind::kCharDevice;
    case S_IFBLK:
      return EntryKind::kBlockDevice;
    case S_IFSOCK:
      return EntryKind::kSocket;
    default:
      return std::nullopt;
  }
}

Result<Entry> entry_of(const struct statx& stat) {
  Entry entry;
  const auto kind = entry_kind(stat.stx_mode);
  if (!kind) return Error{ErrorCode::kInvalid, "it is of an unknown file type"};
  entry.kind = *kind;
  entry.mode = stat.stx_mode & 07777U;
  entry.uid = stat.stx_uid;
  entry.gid = stat.stx_gid;
  entry.mtime_seconds = stat.stx_mtime.tv_sec;
  entry.mtime_nanoseconds = stat.stx_mtime.tv_nsec;
  if (entry.kind == EntryKind::kRegular) entry.size = static_cast<int64_t>(stat.stx_size);
  if (entry.kind == EntryKind::kCharDevice || entry.kind == EntryKind::kBlockDevice) {
    entry.device_major = stat.stx_rdev_major;
    entry.device_minor = stat.stx_rdev_minor;
  }
  return entry;
}

uint32_t type_bits(EntryKind kind) {
  switch (kind) {
    case EntryKind::kRegular:
      return S_IFREG;
    case EntryKind::kDirectory:
      return S_IFDIR;
    case EntryKind::kSymlink:
      return S_IFLNK;
    case EntryKind::kFifo:
      return S_IFIFO;
    case EntryKind::kCharDevice:
      return S_IFCHR;
    case EntryKind::kBlockDevice:
      return S_IFBLK;
    case EntryKind::kSocket:
      return S_IFSOCK;
  }
  return 0;
}

std::string quoted(std::string_view path) {
  constexpr size_t kPart = 200;
  if (path.size() <= 2 * kPart) return "\"" + log::json_escape(path) + "\"";
  return "\"" + log::json_escape(path.substr(0, kPart)) + "[" +
         std::to_string(path.size() - 2 * kPart) + " bytes more]" +
         log::json_escape(path.substr(path.size() - kPart)) + "\"";
}

Error path_error(std::string_view tried, std::string_view path, int errno_value) {
  return errno_error(std::string(tried) + " " + quoted(path), errno_value);
}

Error corrupt(std::string_view path, std::string_view why) {
  return {ErrorCode::kCorrupt, "the stream's entry " + quoted(path) + ": " + std::string(why)};
}

Error creation_error(std::string_view tried, std::string_view path, int errno_value) {
  if (errno_value == EEXIST) return corrupt(path, "it came twice");
  return path_error(tried, path, errno_value);
}

}  // namespace transship::transfer
