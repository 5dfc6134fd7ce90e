#include "transfer/beneath.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "transfer/entry.h"

namespace transship::transfer {
namespace {

// A single name other than ".." leads out of its directory through a link or a mount point only,
// and those are not followed in any case: for it the kernel need not make sure at a price that a
// file is beneath.
uint64_t resolution(const std::string& name) {
  const uint64_t resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  const bool single = name.find('/') == std::string::npos && name != "..";
  return single ? resolve : resolve | RESOLVE_BENEATH;
}

int try_open(int directory, const std::string& name, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolution(name);
  while (true) {
    const auto fd =
        static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how));
    // EAGAIN: something was renamed or mounted meanwhile, and the kernel cannot be sure.
    if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return fd;
  }
}

// Leaves errno alone.
bool is_device(int directory, const std::string& name) {
  const int error = errno;
  struct stat stat {};
  const bool found = ::fstatat(directory, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
                     (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode));
  errno = error;
  return found;
}

}  // namespace

Result<UniqueFd> open_beneath(int directory, const std::string& name, int flags,
                              const std::string& path, mode_t mode) {
  UniqueFd fd(try_open(directory, name, flags, mode));
  if (fd.valid()) return fd;
  if (errno == EXDEV) {
    return Error{ErrorCode::kInvalid,
                 quoted(path) +
                     " is a mount point or leads out of the volume: a volume must be one "
                     "file system"};
  }
  return path_error("open", path, errno);
}

Result<UniqueFd> open_for_reading(int directory, const std::string& name, int extra_flags,
                                  const std::string& path) {
  const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | extra_flags;
  UniqueFd fd(try_open(directory, name, flags | O_NOATIME, 0));
  if (fd.valid()) return fd;
  auto opened = open_beneath(directory, name, flags, path);
  if (opened || errno != EACCES || !is_device(directory, name)) return opened;
  // On a mount without devices: one that has a file's name by now is like one without a driver.
  errno = ENXIO;
  return path_error("open", path, errno);
}

// Some components at a time: the whole path may be longer than PATH_MAX.
Result<UniqueFd> open_parent_beneath(int root, const std::string& path) {
  constexpr size_t kPart = 2048;
  const size_t end = path.rfind('/');
  std::string_view rest = end == std::string::npos ? "." : std::string_view(path).substr(0, end);
  UniqueFd at;
  while (!rest.empty()) {
    size_t cut = rest.size();
    if (cut > kPart) cut = rest.rfind('/', kPart);
    const int from = at.valid() ? at.get() : root;
    auto next = open_beneath(from, std::string(rest.substr(0, cut)), O_PATH | O_DIRECTORY, path);
    if (!next) return next;
    at = std::move(next).value();
    rest.remove_prefix(cut == rest.size() ? cut : cut + 1);
  }
  return at;
}

Result<struct statx> stat_beneath(int directory, const std::string& name, const std::string& path) {
  struct statx stat {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::statx(directory, name.c_str(), flags, STATX_BASIC_STATS, &stat) < 0) {
    return path_error("stat", path, errno);
  }
  return stat;
}

bool is_loss(int error) {
  const auto usual = {ENOENT, ELOOP, ENOTDIR, ENXIO, EISDIR, ESPIPE, EINVAL};
  return std::find(usual.begin(), usual.end(), error) != usual.end();
}

bool same_file(const struct statx& a, const struct statx& b) {
  return a.stx_ino == b.stx_ino && a.stx_dev_major == b.stx_dev_major &&
         a.stx_dev_minor == b.stx_dev_minor;
}

bool unchanged(const struct statx& before, const struct statx& after) {
  const auto same_time = [](const statx_timestamp& a, const statx_timestamp& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
  };
  return same_file(before, after) && before.stx_size == after.stx_size &&
         before.stx_mode == after.stx_mode && same_time(before.stx_mtime, after.stx_mtime) &&
         same_time(before.stx_ctime, after.stx_ctime);
}

}  // namespace transship::transfer
