#include "mover/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/unique_fd.h"
#include "mover/capabilities.h"
#include "mover/system_calls.h"

namespace transship::mover {
namespace {

constexpr uint64_t kHarmless = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

Error refused(const std::string& tried) {
  const Error failed = errno_error(tried, errno);
  return {ErrorCode::kPreconditionFailed,
          failed.message +
              ": the sandbox of a copy takes root with CAP_SYS_ADMIN and Linux 5.12 or newer; "
              "without it, a copy by hand can run --unconfined"};
}

// An empty file system, in no namespace yet.
Result<UniqueFd> make_root() {
  const UniqueFd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context.valid()) return refused("make a file system");
  for (const auto& [key, value] :
       {std::pair{"size", "64k"}, {"nr_inodes", "16"}, {"mode", "0555"}}) {
    if (::fsconfig(context.get(), FSCONFIG_SET_STRING, key, value, 0) != 0)
      return refused("set up a file system");
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return refused("make a file system");
  UniqueFd root(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(kHarmless)));
  if (!root.valid()) return refused("mount a file system");
  return root;
}

Status make_points(int root) {
  for (const char* directory : {"proc", "proc/self", "proc/self/fd"}) {
    if (::mkdirat(root, directory, 0555) != 0) return refused(std::string("make ") + directory);
  }
  const UniqueFd file(::openat(root, "proc/self/status", O_WRONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file.valid()) return refused("make proc/self/status");
  return {};
}

// What is at `path` now, to be seen in the sandbox.
Result<UniqueFd> taken(const std::string& path) {
  UniqueFd mount(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!mount.valid()) return refused("show " + path);
  mount_attr attributes{};
  attributes.attr_set = kHarmless | MOUNT_ATTR_RDONLY;
  attributes.propagation = MS_PRIVATE;
  if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    return refused("show " + path);
  return mount;
}

Status show(const UniqueFd& mount, int root, const char* point) {
  if (::move_mount(mount.get(), "", root, point, MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return refused(std::string("mount ") + point);
  return {};
}

// From now on "/" is `root`, and what was there before is nowhere.
Status go_into(const UniqueFd& root) {
  // Over something that is there everywhere, in this namespace alone.
  TRANSSHIP_TRY(show(root, AT_FDCWD, "/proc"));
  if (::fchdir(root.get()) != 0) return refused("change to the sandbox");
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return refused("make the sandbox the root");
  if (::umount2(".", MNT_DETACH) != 0) return refused("leave the node's files");
  if (::chdir("/") != 0) return refused("change to the sandbox");
  return {};
}

Status hide_files() {
  if (::unshare(CLONE_NEWNS) != 0) return refused("make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return refused("make the mounts private");
  // Extended attributes of what cannot be opened are reached through them; and the umask.
  auto descriptors = taken("/proc/self/fd");
  if (!descriptors) return descriptors.error();
  auto status = taken("/proc/self/status");
  if (!status) return status.error();
  auto root = make_root();
  if (!root) return root.error();
  TRANSSHIP_TRY(make_points(root->get()));
  TRANSSHIP_TRY(go_into(*root));
  TRANSSHIP_TRY(show(*descriptors, root->get(), "proc/self/fd"));
  TRANSSHIP_TRY(show(*status, root->get(), "proc/self/status"));
  mount_attr fixed{};
  fixed.attr_set = MOUNT_ATTR_RDONLY;
  if (::mount_setattr(root->get(), "", AT_EMPTY_PATH, &fixed, sizeof fixed) != 0)
    return refused("make the sandbox read-only");
  return {};
}

}  // namespace

Status enter_sandbox(VolumeAccess access) {
  TRANSSHIP_TRY(hide_files());
  const bool writes = access == VolumeAccess::kWrite;
  const Status kept =
      keep_capabilities(writes ? writing_capabilities() : reading_capabilities(), /*locked=*/true);
  if (!kept.ok()) return Error{ErrorCode::kPreconditionFailed, kept.error().message};
  // Neither a dump nor a debugger shows the key.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return refused("forbid core dumps");
  return allow_only_copying();
}

}  // namespace transship::mover
