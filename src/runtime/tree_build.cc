#include "runtime/tree_build.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>

#include "base/directory_stream.h"
#include "base/unique_fd.h"
#include "runtime/node_copy.h"

namespace transship::runtime {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Status remove_children(int directory, const std::string& path);

// Below the top, whose path is empty.
std::string child_of(const std::string& path, const std::string& name) {
  return path.empty() ? name : std::string(path).append("/").append(name);
}

Status remove_name(int parent, const std::string& name, const std::string& path) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return errno_error("remove " + path, errno);
  const UniqueFd directory(::openat(parent, name.c_str(), kDirectory));
  if (!directory.valid()) return errno_error("remove " + path, errno);
  TRANSSHIP_TRY(remove_children(directory.get(), path));
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) {
    return errno_error("remove " + path, errno);
  }
  return {};
}

Status remove_children(int directory, const std::string& path) {
  auto names = list_directory(directory);
  if (!names) return names.error().during("list " + path);
  for (const auto& name : *names) {
    TRANSSHIP_TRY(remove_name(directory, name, child_of(path, name)));
  }
  return {};
}

class Builder {
 public:
  explicit Builder(BuildMode mode) : mode_(mode) {}

  // `path` is for messages, and for the copies' hard links: below the destination's top.
  Status directory(int from, int to, const std::string& path) {
    if (top_ < 0) top_ = to;
    auto names = list_directory(from);
    if (!names) return names.error().during("list " + path);
    for (const auto& name : *names) {
      TRANSSHIP_TRY(entry(from, to, name, child_of(path, name)));
    }
    return copy_attributes(from, to, path);
  }

 private:
  Status entry(int from, int to, const std::string& name, const std::string& path) {
    struct stat status {};
    if (::fstatat(from, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("look at " + path, errno);
    }
    if (S_ISDIR(status.st_mode)) return subdirectory(from, to, name, path);
    TRANSSHIP_TRY(remove_name(to, name, path));
    if (mode_ == BuildMode::kLink) {
      if (::linkat(from, name.c_str(), to, name.c_str(), 0) == 0) return {};
      // EMLINK: the file has as many links as its file system allows.
      if (errno != EXDEV && errno != EMLINK) return errno_error("link " + path, errno);
    }
    const auto inode = std::pair(status.st_dev, status.st_ino);
    if (const auto known = copied_.find(inode); status.st_nlink > 1 && known != copied_.end()) {
      if (::linkat(top_, known->second.c_str(), to, name.c_str(), 0) == 0) return {};
      if (errno != EMLINK) return errno_error("link " + path, errno);
    }
    TRANSSHIP_TRY(copy_node(from, to, name, status, path));
    if (status.st_nlink > 1) copied_[inode] = path;
    return {};
  }

  Status subdirectory(int from, int to, const std::string& name, const std::string& path) {
    if (::mkdirat(to, name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return errno_error("make the directory " + path, errno);
      struct stat there {};
      if (::fstatat(to, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno_error("look at " + path, errno);
      }
      if (!S_ISDIR(there.st_mode)) {
        TRANSSHIP_TRY(remove_name(to, name, path));
        return subdirectory(from, to, name, path);
      }
    }
    const UniqueFd source(::openat(from, name.c_str(), kDirectory));
    if (!source.valid()) return errno_error("open " + path, errno);
    const UniqueFd made(::openat(to, name.c_str(), kDirectory));
    if (!made.valid()) return errno_error("open " + path, errno);
    return directory(source.get(), made.get(), path);
  }

  BuildMode mode_;
  int top_ = -1;
  std::map<std::pair<dev_t, ino_t>, std::string> copied_;
};

}  // namespace

Status build_tree(const std::string& from, const std::string& to, BuildMode mode) {
  const UniqueFd source(::open(from.c_str(), kDirectory));
  if (!source.valid()) return errno_error("open " + from, errno);
  const UniqueFd destination(::open(to.c_str(), kDirectory));
  if (!destination.valid()) return errno_error("open " + to, errno);
  Status built = Builder(mode).directory(source.get(), destination.get(), "");
  return built.ok() ? built : built.error().during("build " + from + " in " + to);
}

Status empty_tree(const std::string& path) {
  const UniqueFd directory(::open(path.c_str(), kDirectory));
  if (!directory.valid()) return errno_error("open " + path, errno);
  return remove_children(directory.get(), path);
}

}  // namespace transship::runtime
