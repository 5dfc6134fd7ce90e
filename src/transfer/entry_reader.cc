#include "transfer/entry_reader.h"

#include <unistd.h>

#include <cerrno>
#include <climits>

#include "transfer/beneath.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

Error changed(const std::string& path) {
  return {
      ErrorCode::kConflict,
      quoted(path) + " changed while it was read: is the pod, or somebody else, still writing?"};
}

Error vanished(const Error& error) {
  return {ErrorCode::kConflict, error.message + ": it vanished while the volume was read"};
}

Result<std::string> read_link(const WalkedEntry& walked) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length =
      ::readlinkat(walked.parent, walked.name.c_str(), target.data(), target.size());
  if (length < 0 && errno == ENOENT) {
    return vanished(path_error("read link", walked.path, ENOENT));
  }
  if (length < 0) return path_error("read link", walked.path, errno);
  target.resize(static_cast<size_t>(length));
  return target;
}

}  // namespace

Result<UniqueFd> open_walked_file(const WalkedEntry& walked) {
  auto file = open_for_reading(walked.parent, walked.name, 0, walked.path);
  if (!file && file.error().code == ErrorCode::kNotFound) return vanished(file.error());
  if (!file) return file;
  TRANSSHIP_TRY(check_unchanged(walked, file->get()));
  return file;
}

Status check_unchanged(const WalkedEntry& walked, int file) {
  auto now = stat_beneath(file, "", walked.path);
  if (!now) return now.error();
  return unchanged(walked.stat, *now) ? Status() : changed(walked.path);
}

Result<Entry> read_entry(const WalkedEntry& walked, int file, bool projects) {
  auto entry = entry_of(walked.stat);
  if (!entry) return entry.error().during(quoted(walked.path));
  entry->path = walked.path;
  if (entry->kind == EntryKind::kSymlink) {
    auto target = read_link(walked);
    if (!target) return target.error();
    entry->link_target = std::move(target).value();
  }
  const int fd = file >= 0 ? file : walked.directory;
  const XattrPlace place = fd >= 0 ? XattrPlace(fd) : XattrPlace(walked.parent, walked.name);
  auto xattrs = place.read(walked.path);
  if (!xattrs) {
    return xattrs.error().code == ErrorCode::kNotFound ? vanished(xattrs.error()) : xattrs.error();
  }
  entry->xattrs = std::move(xattrs).value();
  const AttributePlace flags{fd >= 0 ? fd : walked.parent, fd >= 0 ? "" : walked.name,
                             walked.directory >= 0, projects};
  if (!read_attributes(flags, entry->attributes)) {
    const Error error = path_error("read the inode flags of", walked.path, errno);
    return error.code == ErrorCode::kNotFound ? vanished(error) : error;
  }
  return entry;
}

}  // namespace transship::transfer
