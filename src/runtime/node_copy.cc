#include "runtime/node_copy.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace transship::runtime {
namespace {

// overlay's marks but the one of an opaque directory say what is true of another mount.
bool is_carried(std::string_view name) {
  if (name == "security.selinux") return false;
  return !name.starts_with("trusted.overlay.") || name == "trusted.overlay.opaque";
}

// /proc/self/fd/N: also for what is open by O_PATH, as fifos, devices and symbolic links are. Of a
// symbolic link no attribute can be read this way; those are taken by name.
std::string name_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Result<std::vector<char>> xattr_names(int from, const std::string& path) {
  std::vector<char> names(65536);
  const ssize_t n = ::listxattr(name_of(from).c_str(), names.data(), names.size());
  if (n < 0) {
    if (errno == ENOTSUP) return std::vector<char>{};
    return errno_error("list the extended attributes of " + path, errno);
  }
  names.resize(static_cast<size_t>(n));
  return names;
}

Status copy_xattrs(int from, int to, const std::string& path) {
  const auto names = xattr_names(from, path);
  if (!names) return names.error();
  std::vector<char> value(65536);
  for (size_t at = 0; at < names->size();) {
    const char* name = names->data() + at;
    at += std::string_view(name).size() + 1;
    if (!is_carried(name)) continue;
    const ssize_t n = ::getxattr(name_of(from).c_str(), name, value.data(), value.size());
    if (n < 0) return errno_error("read the attribute " + std::string(name) + " of " + path, errno);
    if (::setxattr(name_of(to).c_str(), name, value.data(), static_cast<size_t>(n), 0) != 0) {
      return errno_error("set the attribute " + std::string(name) + " of " + path, errno);
    }
  }
  return {};
}

Status copy_range(int from, int to, off_t begin, off_t end, const std::string& path) {
  std::vector<char> buffer(size_t{256} << 10);
  while (begin < end) {
    const size_t most = std::min(buffer.size(), static_cast<size_t>(end - begin));
    const ssize_t n = ::pread(from, buffer.data(), most, begin);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read " + path, errno);
    if (n == 0) return {};
    for (ssize_t done = 0; done < n;) {
      const ssize_t written =
          ::pwrite(to, buffer.data() + done, static_cast<size_t>(n - done), begin + done);
      if (written < 0 && errno != EINTR) return errno_error("write " + path, errno);
      if (written > 0) done += written;
    }
    begin += n;
  }
  return {};
}

Status copy_content(int from, int to, off_t size, const std::string& path) {
  if (::ftruncate(to, size) != 0) return errno_error("write " + path, errno);
  for (off_t at = 0; at < size;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return errno_error("read " + path, errno);
    const off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return errno_error("read " + path, errno);
    TRANSSHIP_TRY(copy_range(from, to, data, hole, path));
    at = hole;
  }
  return {};
}

Status copy_file(int from, int to, const std::string& name, const std::string& path) {
  const UniqueFd source(
      ::openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!source.valid()) return errno_error("open " + path, errno);
  struct stat status {};
  if (::fstat(source.get(), &status) != 0) return errno_error("look at " + path, errno);
  const UniqueFd made(
      ::openat(to, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!made.valid()) return errno_error("make " + path, errno);
  TRANSSHIP_TRY(copy_content(source.get(), made.get(), status.st_size, path));
  return copy_attributes(source.get(), made.get(), path);
}

Status copy_symlink(int from, int to, const std::string& name, const struct stat& status,
                    const std::string& path) {
  char target[PATH_MAX + 1] = {};
  if (::readlinkat(from, name.c_str(), target, PATH_MAX) < 0 ||
      ::symlinkat(target, to, name.c_str()) != 0 ||
      ::fchownat(to, name.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("make the symbolic link " + path, errno);
  }
  const struct timespec times[] = {status.st_atim, status.st_mtim};
  if (::utimensat(to, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("set the times of " + path, errno);
  }
  return {};
}

}  // namespace

Status copy_attributes(int from, int to, const std::string& path) {
  struct stat status {};
  if (::fstat(from, &status) != 0) return errno_error("look at " + path, errno);
  // In this order: a new owner takes capabilities and setuid bits away.
  if (::chown(name_of(to).c_str(), status.st_uid, status.st_gid) != 0) {
    return errno_error("set the owner of " + path, errno);
  }
  if (::chmod(name_of(to).c_str(), status.st_mode & 07777) != 0) {
    return errno_error("set the mode of " + path, errno);
  }
  TRANSSHIP_TRY(copy_xattrs(from, to, path));
  const struct timespec times[] = {status.st_atim, status.st_mtim};
  if (::utimensat(AT_FDCWD, name_of(to).c_str(), times, 0) != 0) {
    return errno_error("set the times of " + path, errno);
  }
  return {};
}

Status copy_node(int from, int to, const std::string& name, const struct stat& status,
                 const std::string& path) {
  if (S_ISREG(status.st_mode)) return copy_file(from, to, name, path);
  if (S_ISLNK(status.st_mode)) return copy_symlink(from, to, name, status, path);
  if (::mknodat(to, name.c_str(), (status.st_mode & S_IFMT) | 0600, status.st_rdev) != 0) {
    return errno_error("make the special file " + path, errno);
  }
  const UniqueFd source(::openat(from, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const UniqueFd made(::openat(to, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!source.valid() || !made.valid()) return errno_error("open " + path, errno);
  return copy_attributes(source.get(), made.get(), path);
}

}  // namespace transship::runtime
