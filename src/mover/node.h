// Node: the parts of the machine that a mover may touch, and the only way it opens them.
//
// Three views of the same files:
//   the node's root    /proc/1/root: where a PersistentVolume's hostPath or local path leads.
//   Opened with
//                      RESOLVE_IN_ROOT (openat2(2)), so that the node's symlinks stay in the node.
//   the kubelet root   /var/lib/kubelet as mounted into the mover with Bidirectional propagation:
//   what
//                      is mounted or unmounted here is so on the node too, and outlives the mover.
//   the raw view       a private, non-recursive clone of the kubelet root's mount (open_tree(2)):
//   shows
//                      what lies below every pin, cover and tmpfs. rename(2) refuses to go from one
//                      mount to another even on one file system, so placing renames within this
//                      view. Nothing is ever deleted through it: a mount point would not be
//                      noticed.
//
// Needs Linux 5.12 (mount_setattr(2)) and CAP_SYS_ADMIN. Safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/mount_view.h"

namespace transship::mover {

struct NodeConfig {
  std::string name;                               // the Kubernetes node
  std::string kubelet_root = "/var/lib/kubelet";  // absolute, the same path on the node
  std::string process = "/proc/1";  // the process whose root and mounts are the node's
};

class Node {
 public:
  static Result<Node> open(NodeConfig config);

  [[nodiscard]] const NodeConfig& config() const { return config_; }
  // The kernel's id of this boot, /proc/sys/kernel/random/boot_id.
  [[nodiscard]] const std::string& boot_id() const { return boot_id_; }
  [[nodiscard]] int kubelet_root() const { return kubelet_root_.get(); }
  [[nodiscard]] int raw_view() const { return raw_view_.get(); }

  // A directory of the node, by absolute path. Open for reading.
  [[nodiscard]] Result<UniqueFd> open_directory(const std::string& node_path) const;

  // A volume's directory, however it was opened here, as a copier is to see it (mount_view.h).
  // kubelet can unmount what it mounted while this is open.
  [[nodiscard]] Result<UniqueFd> volume_view(int directory, VolumeAccess access) const;

  // The absolute path of something given relative to the kubelet root.
  [[nodiscard]] std::string absolute(std::string_view below_kubelet_root) const;
  // Mount tables as mountinfo files (proc(5)): the mover's own (of the calling thread) and the
  // node's.
  [[nodiscard]] static std::string own_mountinfo() { return "/proc/thread-self/mountinfo"; }
  [[nodiscard]] std::string node_mountinfo() const { return config_.process + "/mountinfo"; }
  [[nodiscard]] std::string cgroup_root() const { return config_.process + "/root/sys/fs/cgroup"; }

 private:
  Node() = default;
  NodeConfig config_;
  std::string boot_id_;
  UniqueFd node_root_;
  UniqueFd kubelet_root_;
  UniqueFd raw_view_;
};

// Pod and migration UIDs: 1 to 64 of [0-9a-zA-Z-], not beginning with "-". Names of volumes: RFC
// 1123 labels. Both are parts of paths, so everything else is kInvalid.
Status check_uid(std::string_view what, std::string_view uid);
Status check_volume_name(std::string_view name);

// "pods/UID/volumes/kubernetes.io~empty-dir/NAME", relative to the kubelet root. The parts must
// have been checked.
std::string empty_dir_path(std::string_view pod_uid, std::string_view volume);

// Opens `path` beneath `directory`: no "..", no symlink, no magic link. `cross_mounts` says whether
// a mount on the way is followed (the kubelet root's tmpfs volumes) or is kPreconditionFailed.
Result<UniqueFd> open_beneath(int directory, const std::string& path, bool cross_mounts);

// Makes every missing directory of `path` beneath `directory` (mode 0700) and opens the last one.
Result<UniqueFd> make_beneath(int directory, const std::string& path);

// True where `path` beneath `directory` exists (as anything but a symlink on the way).
Result<bool> exists_beneath(int directory, const std::string& path);

}  // namespace transship::mover
