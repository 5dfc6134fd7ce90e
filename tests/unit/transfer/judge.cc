#include "judge.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>
#include <vector>

namespace transship::transfer {
namespace {

// A plain 64-bit sum of the content (not the engine's SHA-256), and the holes as bytes on disk.
std::string content_of(int directory, const char* name) {
  const int fd = ::openat(directory, name, O_RDONLY | O_NOFOLLOW);
  if (fd < 0) return "unreadable";
  uint64_t hash = 1469598103934665603U;
  std::vector<unsigned char> buffer(1 << 20);
  int64_t total = 0;
  for (ssize_t n = 0; (n = ::read(fd, buffer.data(), buffer.size())) > 0; total += n) {
    for (ssize_t i = 0; i < n; ++i) hash = (hash ^ buffer[static_cast<size_t>(i)]) * 1099511628211U;
  }
  ::close(fd);
  return std::to_string(total) + "/" + std::to_string(hash);
}

std::string xattrs_of(int directory, const char* name) {
  const std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  std::vector<char> names(65536);
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  std::set<std::string> found;
  for (ssize_t at = 0; at < length;) {
    const std::string key(names.data() + at);
    at += static_cast<ssize_t>(key.size()) + 1;
    std::vector<char> value(65536);
    const ssize_t size = ::lgetxattr(path.c_str(), key.c_str(), value.data(), value.size());
    if (key.starts_with("trusted.overlay.") || key == "security.selinux") continue;
    found.insert(key + "=" +
                 std::string(value.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))));
  }
  std::string text;
  for (const std::string& one : found) text += " {" + one + "}";
  return text;
}

std::string link_of(int directory, const char* name) {
  char target[8192];
  const ssize_t n = ::readlinkat(directory, name, target, sizeof target);
  return std::string(target, static_cast<size_t>(std::max<ssize_t>(n, 0)));
}

class Describer {
 public:
  void describe(int directory, const char* name, const std::string& path) {
    struct stat stat {};
    if (::fstatat(directory, name, &stat, AT_SYMLINK_NOFOLLOW) != 0) return;
    std::string text = "mode " + std::to_string(stat.st_mode) + " owner " +
                       std::to_string(stat.st_uid) + ":" + std::to_string(stat.st_gid) + " mtime " +
                       std::to_string(stat.st_mtim.tv_sec) + "." +
                       std::to_string(stat.st_mtim.tv_nsec);
    if (S_ISREG(stat.st_mode)) text += " content " + content_of(directory, name);
    if (S_ISLNK(stat.st_mode)) text += " to " + link_of(directory, name);
    if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) {
      text += " device " + std::to_string(major(stat.st_rdev)) + "," +
              std::to_string(minor(stat.st_rdev));
    }
    if (!S_ISDIR(stat.st_mode)) links_[stat.st_ino].insert(path);
    entries[path] = text + xattrs_of(directory, name);
    if (S_ISDIR(stat.st_mode)) descend(directory, name, path);
  }

  // Says of each name which others are the same file.
  void name_links() {
    for (const auto& [inode, paths] : links_) {
      if (paths.size() < 2) continue;
      for (const std::string& path : paths) entries[path] += " linked to " + *paths.begin();
    }
  }

  std::map<std::string, std::string> entries;

 private:
  void descend(int directory, const char* name, const std::string& path) {
    const int fd = ::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    DIR* stream = fd < 0 ? nullptr : ::fdopendir(fd);
    if (stream == nullptr) {
      entries[path] += " unreadable";
      return;
    }
    std::set<std::string> names;
    while (const dirent* found = ::readdir(stream)) names.insert(found->d_name);
    for (const std::string& one : names) {
      if (one == "." || one == "..") continue;
      describe(fd, one.c_str(), path.empty() ? one : std::string(path).append("/").append(one));
    }
    ::closedir(stream);
  }

  std::map<ino_t, std::set<std::string>> links_;
};

}  // namespace

std::map<std::string, std::string> describe_tree(const std::string& directory) {
  Describer describer;
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  describer.describe(fd, ".", "");
  ::close(fd);
  describer.name_links();
  return describer.entries;
}

std::string differences(const std::string& expected, const std::string& found) {
  const auto mine = describe_tree(expected);
  auto theirs = describe_tree(found);
  std::string text;
  for (const auto& [path, line] : mine) {
    const auto other = theirs.find(path);
    if (other == theirs.end()) {
      text += "missing: " + path.substr(0, 300) + "\n";
    } else if (other->second != line) {
      text += "differs: " + path.substr(0, 300) + "\n  " + line + "\n  " + other->second + "\n";
    }
    if (other != theirs.end()) theirs.erase(other);
  }
  for (const auto& [path, line] : theirs) text += "extra: " + path.substr(0, 300) + "\n";
  return text;
}

}  // namespace transship::transfer
