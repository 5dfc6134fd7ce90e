#include "mover/tree_removal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/directory_stream.h"
#include "base/unique_fd.h"
#include "mover/node.h"
#include "transfer/entry_metadata.h"

namespace transship::mover {
namespace {

constexpr const char* kLostAndFound = "lost+found";

Error refused(const std::string& name, int error) {
  if (error == EXDEV || error == EBUSY) {
    return Error{ErrorCode::kPreconditionFailed,
                 "remove " + name + ": something is mounted there; unmount it first"};
  }
  return errno_error("remove " + name, error);
}

// One directory on the way down. A stack of these instead of recursion: trees may be deep.
struct Level {
  UniqueFd fd;
  DirectoryStream stream;
  std::string name;  // in its parent
};

Result<Level> descend(int parent, const std::string& name) {
  auto fd = open_beneath(parent, name, /*cross_mounts=*/false);
  if (!fd) return fd.error().during("remove " + name);
  // Immutable or append-only, it would let nothing go.
  if (const auto failed = transfer::unlock_inode(fd->get(), "", S_IFDIR, /*projects=*/false))
    return transfer::write_error(*failed, name);
  auto stream = DirectoryStream::open(fd->get());
  if (!stream) return stream.error();
  return Level{std::move(fd).value(), std::move(stream).value(), name};
}

// Removes `name` if it is no directory; true if it is one, which must be emptied first.
Result<bool> unlink_or_directory(int parent, const std::string& name) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return false;
  if (errno == EISDIR || errno == EPERM) {
    struct stat status {};
    if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(status.st_mode)) {
      return true;
    }
    if (transfer::unlock_inode(parent, name, status.st_mode, /*projects=*/false) ||
        ::unlinkat(parent, name.c_str(), 0) != 0)
      return errno_error("remove " + name + " (is it immutable?)", EPERM);
    return false;
  }
  return refused(name, errno);
}

Status empty_below(std::vector<Level>& levels, const Deadline& deadline) {
  while (!levels.empty()) {
    TRANSSHIP_TRY(deadline.check("remove files"));
    Level& level = levels.back();
    const dirent* entry = level.stream.next();
    if (!entry) {
      if (errno != 0) return errno_error("list " + level.name, errno);
      const std::string name = level.name;
      levels.pop_back();
      if (levels.empty()) return {};
      if (::unlinkat(levels.back().fd.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return refused(name, errno);
      }
      continue;
    }
    const std::string name = entry->d_name;
    auto directory = unlink_or_directory(level.fd.get(), name);
    if (!directory) return directory.error();
    if (!*directory) continue;
    auto below = descend(level.fd.get(), name);
    if (!below) return below.error();
    levels.push_back(std::move(below).value());
  }
  return {};
}

}  // namespace

Status empty_directory(int directory, const Deadline& deadline) {
  std::vector<Level> levels;
  auto top = descend(directory, ".");
  if (!top) return top.error();
  levels.push_back(std::move(top).value());
  return empty_below(levels, deadline);
}

Status remove_tree(int parent, const std::string& name, const Deadline& deadline) {
  auto directory = unlink_or_directory(parent, name);
  if (!directory) return directory.error();
  if (!*directory) return {};
  std::vector<Level> levels;
  auto top = descend(parent, name);
  if (!top) return top.error();
  levels.push_back(std::move(top).value());
  TRANSSHIP_TRY(empty_below(levels, deadline));
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return refused(name, errno);
  }
  return {};
}

Result<bool> is_fresh(int directory) {
  auto names = list_directory(directory);
  if (!names) return names.error();
  if (names->empty()) return true;
  if (names->size() > 1 || names->front() != kLostAndFound) return false;
  auto inside = open_beneath(directory, kLostAndFound, /*cross_mounts=*/false);
  if (!inside) return false;
  auto lost = list_directory(inside->get());
  if (!lost) return lost.error();
  return lost->empty();
}

}  // namespace transship::mover
