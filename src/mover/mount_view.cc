#include "mover/mount_view.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <thread>

namespace transship::mover {
namespace {

Error refused(const std::string& what, int error) {
  Error failed = errno_error("clone the mount of " + what, error);
  if (error == EINVAL) failed.code = ErrorCode::kInvalid;
  if (error != EPERM && error != ENOSYS) return failed;
  return {ErrorCode::kPreconditionFailed,
          failed.message + ": it takes CAP_SYS_ADMIN and Linux 5.12 or newer"};
}

UniqueFd open_directory(int mount, const std::string& path, uint64_t resolve) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | resolve;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, mount, path.c_str(), &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return UniqueFd(static_cast<int>(fd));
  }
}

Status enter_mounts_of(const std::string& process) {
  const std::string path = process + "/ns/mnt";
  const UniqueFd mounts(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!mounts.valid()) return errno_error("open " + path, errno);
  if (::unshare(CLONE_FS) != 0 || ::setns(mounts.get(), CLONE_NEWNS) != 0)
    return errno_error("enter the mount namespace " + path, errno);
  return {};
}

Result<UniqueFd> opened(UniqueFd mount, const std::string& what, const MountView& view) {
  mount_attr attributes{};
  attributes.attr_set = view.attributes;
  attributes.propagation = MS_PRIVATE;
  const unsigned flags = AT_EMPTY_PATH | (view.recursive ? AT_RECURSIVE : 0U);
  if (::mount_setattr(mount.get(), "", flags, &attributes, sizeof attributes) != 0)
    return refused(what, errno);
  // A descriptor of the directory itself: what open_tree gives is O_PATH.
  UniqueFd top = open_directory(mount.get(), ".", 0);
  if (!top.valid()) return errno_error("open " + what, errno);
  return top;
}

UniqueFd cloned(int directory, const MountView& view) {
  return UniqueFd(::open_tree(
      directory, "",
      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (view.recursive ? AT_RECURSIVE : 0U)));
}

// As it is seen from the top of its mount (proc(5)).
Result<std::string> path_of(int directory) {
  std::array<char, PATH_MAX> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(directory);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
  if (size < 0) return errno_error("read " + link, errno);
  return "." + std::string(path.data(), static_cast<size_t>(size));
}

// For a thread that ends then: in a namespace of its own that has the mount of `root` without what
// is mounted in it.
Result<UniqueFd> clone_apart(int root, const std::string& path, const std::string& what,
                             const MountView& view) {
  const UniqueFd copy = cloned(root, {});
  if (!copy.valid()) return refused(what, errno);
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::move_mount(copy.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return refused(what, errno);
  const UniqueFd directory = open_directory(copy.get(), path, RESOLVE_NO_XDEV);
  if (!directory.valid()) return errno_error("open " + what, errno);
  return clone_mount(directory.get(), what, view);
}

}  // namespace

Result<UniqueFd> clone_mount(int directory, const std::string& what, const MountView& view) {
  UniqueFd mount = cloned(directory, view);
  if (!mount.valid()) return refused(what, errno);
  return opened(std::move(mount), what, view);
}

Result<UniqueFd> clone_mount_of(const std::string& process, int directory, const std::string& what,
                                const MountView& view) {
  UniqueFd mount = cloned(directory, view);
  // EINVAL: it is not of the caller's namespace.
  if (!mount.valid() && errno != EINVAL) return refused(what, errno);
  if (mount.valid()) return opened(std::move(mount), what, view);
  Result<UniqueFd> seen = Error{};
  std::thread([&] {  // a thread can have a namespace of its own
    const Status entered = enter_mounts_of(process);
    seen = entered.ok() ? clone_mount(directory, what, view) : Result<UniqueFd>(entered.error());
  })
      .join();
  return seen;
}

Result<UniqueFd> clone_again(int root, int directory, const std::string& what,
                             const MountView& view) {
  const auto path = path_of(directory);
  if (!path) return path.error();
  Result<UniqueFd> seen = Error{};
  std::thread([&] { seen = clone_apart(root, *path, what, view); }).join();
  if (!seen) return seen;
  struct stat one {};
  struct stat other {};
  if (::fstat(directory, &one) != 0 || ::fstat(seen->get(), &other) != 0)
    return errno_error("stat " + what, errno);
  if (one.st_dev == other.st_dev && one.st_ino == other.st_ino) return seen;
  return Error{ErrorCode::kConflict, what + " was renamed meanwhile"};
}

MountView volume_view(VolumeAccess access) {
  MountView view;
  view.recursive = true;  // a mount inside is told, not passed over
  view.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (access == VolumeAccess::kRead) view.attributes |= MOUNT_ATTR_RDONLY;
  return view;
}

}  // namespace transship::mover
