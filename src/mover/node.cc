#include "mover/node.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

namespace transship::mover {
namespace {

UniqueFd openat2_directory(int directory, const std::string& path, uint64_t resolve) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = resolve;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    // EAGAIN: a rename raced with the resolution; openat2(2) says to try again.
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return UniqueFd(static_cast<int>(fd));
  }
}

bool all_of_kind(std::string_view text, bool upper) {
  return std::all_of(text.begin(), text.end(), [upper](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' ||
           (upper && c >= 'A' && c <= 'Z');
  });
}

}  // namespace

Result<Node> Node::open(NodeConfig config) {
  Node node;
  node.config_ = std::move(config);
  if (node.config_.kubelet_root.empty() || node.config_.kubelet_root.front() != '/') {
    return Error{ErrorCode::kInvalid,
                 "the kubelet root \"" + node.config_.kubelet_root + "\" is not an absolute path"};
  }
  const std::string root = node.config_.process + "/root";
  node.node_root_.reset(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!node.node_root_.valid()) {
    return errno_error("open the node's root " + root + " (the pod needs hostPID and privileges)",
                       errno);
  }
  const std::string& kubelet_root = node.config_.kubelet_root;
  node.kubelet_root_.reset(::open(kubelet_root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!node.kubelet_root_.valid()) return errno_error("open " + kubelet_root, errno);
  auto raw = clone_mount(node.kubelet_root_.get(), kubelet_root, {});
  if (!raw) return raw.error();
  node.raw_view_ = std::move(raw).value();
  std::ifstream boot_id("/proc/sys/kernel/random/boot_id");
  std::getline(boot_id, node.boot_id_);
  return node;
}

Result<UniqueFd> Node::open_directory(const std::string& node_path) const {
  if (node_path.empty() || node_path.front() != '/') {
    return Error{ErrorCode::kInvalid, "the node path \"" + node_path + "\" is not absolute"};
  }
  // No magic links: /proc/PID/root would lead out of the node's root again.
  UniqueFd fd =
      openat2_directory(node_root_.get(), node_path, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (!fd.valid()) return errno_error("open " + node_path + " on node " + config_.name, errno);
  return fd;
}

Result<UniqueFd> Node::volume_view(int directory, VolumeAccess access) const {
  const MountView view = mover::volume_view(access);
  const std::string what = "a volume on node " + config_.name;
  auto clone = clone_mount_of(config_.process, directory, what, view);
  // EINVAL: it lies in the raw view, which is in no namespace.
  if (clone.ok() || clone.error().code != ErrorCode::kInvalid) return clone;
  return clone_again(kubelet_root_.get(), directory, what, view);
}

std::string Node::absolute(std::string_view below_kubelet_root) const {
  return config_.kubelet_root + "/" + std::string(below_kubelet_root);
}

Status check_uid(std::string_view what, std::string_view uid) {
  if (!uid.empty() && uid.size() <= 64 && uid.front() != '-' && all_of_kind(uid, true)) return {};
  return Error{ErrorCode::kInvalid, std::string(what) + ": \"" + std::string(uid.substr(0, 80)) +
                                        "\" is not a UID (letters, digits and '-')"};
}

Status check_volume_name(std::string_view name) {
  if (!name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-' &&
      all_of_kind(name, false)) {
    return {};
  }
  return Error{ErrorCode::kInvalid,
               "\"" + std::string(name.substr(0, 80)) +
                   "\" is not a volume's name (lower-case letters, digits, '-')"};
}

std::string empty_dir_path(std::string_view pod_uid, std::string_view volume) {
  return "pods/" + std::string(pod_uid) + "/volumes/kubernetes.io~empty-dir/" + std::string(volume);
}

Result<UniqueFd> open_beneath(int directory, const std::string& path, bool cross_mounts) {
  const uint64_t resolve =
      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | (cross_mounts ? 0U : RESOLVE_NO_XDEV);
  UniqueFd fd = openat2_directory(directory, path, resolve);
  if (fd.valid()) return fd;
  if (errno == EXDEV) {
    return Error{ErrorCode::kPreconditionFailed,
                 "open " + path + ": something is mounted on the way"};
  }
  return errno_error("open " + path, errno);
}

Result<UniqueFd> make_beneath(int directory, const std::string& path) {
  UniqueFd current(::fcntl(directory, F_DUPFD_CLOEXEC, 0));
  if (!current.valid()) return errno_error("open the parent of " + path, errno);
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    begin = end + 1;
    if (::mkdirat(current.get(), part.c_str(), 0700) != 0 && errno != EEXIST) {
      return errno_error("make " + path, errno);
    }
    UniqueFd next = openat2_directory(current.get(), part, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (!next.valid()) return errno_error("open " + path, errno);
    current = std::move(next);
  }
  return current;
}

Result<bool> exists_beneath(int directory, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const UniqueFd fd(
      static_cast<int>(::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how)));
  if (fd.valid()) return true;
  if (errno == ENOENT) return false;
  return errno_error("look for " + path, errno);
}

}  // namespace transship::mover
