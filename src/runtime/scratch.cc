#include "runtime/scratch.h"

#include <sys/mount.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

// In the order in which they were made.
std::vector<std::string> mounts_below(const std::string& path) {
  std::vector<std::string> found;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, target;
    fields >> id >> parent >> device >> root >> target;
    if (target.starts_with(path + "/")) found.push_back(target);
  }
  return found;
}

}  // namespace

Status Scratch::remove(const std::string& path) {
  const auto mounts = mounts_below(path);
  for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount) {
    if (::umount2(mount->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
      return errno_error("unmount " + *mount, errno);
    }
  }
  std::error_code problem;
  std::filesystem::remove_all(path, problem);
  if (problem) return errno_error("remove " + path, problem.value());
  return {};
}

Result<Scratch> Scratch::make(const std::string& path) {
  TRANSSHIP_TRY(remove(path));
  TRANSSHIP_TRY(make_directories(path));
  return Scratch(path);
}

Scratch::~Scratch() {
  if (!path_.empty()) (void)remove(path_);
}

}  // namespace transship::runtime
