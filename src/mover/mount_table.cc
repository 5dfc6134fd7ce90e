#include "mover/mount_table.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "base/unique_fd.h"

namespace transship::mover {
namespace {

// mountinfo writes space, tab, newline and backslash as \ooo; in options also commas.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() &&
        text.find_first_not_of("01234567", i + 1) > i + 3) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_below(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path.substr(0, directory.size()) == directory &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

// "36 35 98:0 /root /point options [optional fields] - type source super-options"
Mount parse_line(const std::string& line) {
  std::istringstream in(line);
  std::string id;
  std::string parent;
  std::string options;
  std::string root;
  std::string point;
  Mount mount;
  in >> id >> parent >> mount.device >> root >> point >> options;
  mount.root = unescape(root);
  mount.point = unescape(point);
  for (std::string field; in >> field && field != "-";) {
    mount.peers += (mount.peers.empty() ? "" : " ") + field;
  }
  std::string source;
  in >> mount.file_system >> source >> mount.options;
  return mount;
}

}  // namespace

std::optional<std::string> Mount::option(std::string_view key) const {
  std::istringstream in(options);
  for (std::string one; std::getline(in, one, ',');) {
    const size_t name_end = std::min(one.find('='), one.size());
    if (std::string_view(one).substr(0, name_end) != key) continue;
    return name_end == one.size() ? "" : unescape(one.substr(name_end + 1));
  }
  return std::nullopt;
}

Result<MountTable> MountTable::read(const std::string& mountinfo) {
  std::ifstream file(mountinfo);
  if (!file) return errno_error("read " + mountinfo, errno);
  MountTable table;
  for (std::string line; std::getline(file, line);) table.mounts_.push_back(parse_line(line));
  return table;
}

const Mount* MountTable::at(std::string_view point) const {
  for (auto mount = mounts_.rbegin(); mount != mounts_.rend(); ++mount) {
    if (mount->point == point) return &*mount;
  }
  return nullptr;
}

const Mount* MountTable::containing(std::string_view path) const {
  const Mount* best = nullptr;
  for (const Mount& mount : mounts_) {
    if (is_below(path, mount.point) && (!best || mount.point.size() >= best->point.size()))
      best = &mount;
  }
  return best;
}

std::vector<std::string> MountTable::below(std::string_view directory) const {
  std::vector<std::string> points;
  for (const Mount& mount : mounts_) {
    if (is_below(mount.point, directory)) points.push_back(mount.point);
  }
  return points;
}

Status bind_apart(const std::string& source, const std::string& target) {
  const std::string tried = "mount " + source + " at " + target;
  const UniqueFd mount(::open_tree(AT_FDCWD, source.c_str(),
                                   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW));
  if (!mount.valid()) return errno_error(tried, errno);
  mount_attr attributes{};
  attributes.propagation = MS_PRIVATE;
  if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
    return errno_error(tried, errno);
  }
  if (::move_mount(mount.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return errno_error(tried, errno);
  }
  return {};
}

Status unmount(const std::string& target) {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  if (errno == EBUSY && ::umount2(target.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) return {};
  if (errno == EINVAL || errno == ENOENT) return {};  // not a mount point, or nothing there
  return errno_error("unmount " + target, errno);
}

}  // namespace transship::mover
