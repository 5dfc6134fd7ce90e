#include "mover/memory_trees.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "mover/migration_directory.h"
#include "mover/mount_table.h"
#include "mover/tree_removal.h"

namespace transship::mover {
namespace {

constexpr int64_t kLeast = int64_t{64} << 20;

}  // namespace

Result<int64_t> available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  for (int64_t kilobytes = 0; file >> key >> kilobytes;) {
    if (key == "MemAvailable:") return kilobytes << 10;
    file.ignore(64, '\n');
  }
  return Error{ErrorCode::kInternal, "/proc/meminfo does not say what memory is available"};
}

MemoryTrees::MemoryTrees(const Node& node, std::string migration_uid)
    : node_(node), migration_uid_(std::move(migration_uid)) {}

std::string MemoryTrees::point() const { return migration_path(migration_uid_) + "/memory"; }

std::string MemoryTrees::path(const std::string& name) const {
  return node_.absolute(point() + "/" + name);
}

Result<bool> MemoryTrees::is_mounted() const {
  auto table = MountTable::read(Node::own_mountinfo());
  if (!table) return table.error();
  const Mount* mount = table->at(node_.absolute(point()));
  return mount != nullptr && mount->file_system == "tmpfs";
}

Result<UniqueFd> MemoryTrees::open_mount() const {
  auto mounted = is_mounted();
  if (!mounted) return mounted.error();
  if (!*mounted) {
    auto available = available_memory();
    if (!available) return available.error();
    auto directory = make_beneath(node_.kubelet_root(), point());
    if (!directory) return directory;
    const std::string options =
        "mode=0700,size=" + std::to_string(std::max(kLeast, *available / 10 * 9));
    const std::string at = node_.absolute(point());
    if (::mount("transship", at.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                options.c_str()) != 0)
      return errno_error("mount a tmpfs at " + at, errno);
  }
  return open_beneath(node_.kubelet_root(), point(), /*cross_mounts=*/true);
}

Result<UniqueFd> MemoryTrees::open(const std::string& name) const {
  auto mount = open_mount();
  if (!mount) return mount;
  return make_beneath(mount->get(), name);
}

Result<UniqueFd> MemoryTrees::renew(const std::string& name, const Deadline& deadline) const {
  TRANSSHIP_TRY(remove(name, deadline));
  return open(name);
}

Status MemoryTrees::remove(const std::string& name, const Deadline& deadline) const {
  auto mounted = is_mounted();
  if (!mounted) return mounted.error();
  if (!*mounted) return {};
  auto mount = open_mount();
  return mount ? remove_tree(mount->get(), name, deadline) : Status(mount.error());
}

Status MemoryTrees::release() const {
  for (;;) {
    auto mounted = is_mounted();
    if (!mounted) return mounted.error();
    if (!*mounted) break;
    TRANSSHIP_TRY(unmount(node_.absolute(point())));
  }
  if (::unlinkat(node_.kubelet_root(), point().c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT &&
      errno != ENOTDIR)
    return errno_error("remove " + node_.absolute(point()), errno);
  return {};
}

}  // namespace transship::mover
