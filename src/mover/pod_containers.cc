#include "mover/pod_containers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

#include "mover/mount_table.h"
#include "mover/mount_view.h"

namespace transship::mover {
namespace {

using api::MoverContainer;

constexpr int kStartTime = 22;  // the field of /proc/PID/stat
constexpr int kAfterName = 3;   // the first one after the name

// In clock ticks since the boot; nullopt where the process is gone.
std::optional<uint64_t> start_time(const std::string& proc, int pid) {
  std::ifstream file(proc + "/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text, '\0')) return std::nullopt;
  // The name may hold anything, also a parenthesis.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream in(text.substr(name_end + 1));
  std::string field;
  for (int i = kAfterName; i <= kStartTime; ++i) {
    if (!(in >> field)) return std::nullopt;
  }
  return std::stoull(field);
}

Error no_layer(const MoverContainer& container, const std::string& why) {
  return {ErrorCode::kPreconditionFailed,
          "container " + container.name + ": " + why +
              ": only layers of containerd's overlayfs snapshotter can be moved"};
}

}  // namespace

Result<int> first_process(const std::string& proc, const std::vector<int>& pids) {
  std::optional<uint64_t> earliest;
  int first = 0;
  for (const int pid : pids) {
    const auto started = start_time(proc, pid);
    // In one tick, a parent has the lower number, but where they began anew.
    if (!started || (earliest && *started >= *earliest)) continue;
    earliest = started;
    first = pid;
  }
  if (earliest) return first;
  return Error{ErrorCode::kNotFound, "it has no process"};
}

int64_t resident_memory(const std::string& proc, const std::vector<int>& pids) {
  int64_t bytes = 0;
  for (const int pid : pids) {
    std::ifstream file(proc + "/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("RssAnon:") || line.starts_with("RssShmem:"))
        bytes += std::strtoll(line.c_str() + line.find(':') + 1, nullptr, 10) << 10;
    }
  }
  return bytes;
}

Result<PodContainers> PodContainers::find(const Node& node, const std::string& pod_uid) {
  auto cgroups = PodCgroups::find(node.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  if (!cgroups->found()) {
    return Error{ErrorCode::kNotFound, "pod " + pod_uid + " has no cgroup on node " +
                                           node.config().name + ": is it running there?"};
  }
  return PodContainers(node, std::move(cgroups).value());
}

Result<std::vector<int>> PodContainers::processes(const MoverContainer& container) const {
  auto pids = cgroups_.processes_of(container.id);
  if (!pids) return pids.error().during("container " + container.name);
  if (!pids->empty()) return pids;
  return Error{ErrorCode::kNotFound, "container " + container.name + " (" + container.id +
                                         ") has no process on node " + node_.config().name +
                                         ": has it ended, or been started anew?"};
}

Result<int> PodContainers::init_process(const MoverContainer& container) const {
  auto pids = processes(container);
  if (!pids) return pids.error();
  auto first = first_process(node_.proc(), *pids);
  if (!first) return first.error().during("container " + container.name);
  return first;
}

Result<UniqueFd> PodContainers::open_layer(const MoverContainer& container) const {
  auto pid = init_process(container);
  if (!pid) return pid.error();
  auto table = MountTable::read(node_.proc() + "/" + std::to_string(*pid) + "/mountinfo");
  if (!table) return table.error().during("container " + container.name);
  const Mount* root = table->at("/");
  if (root == nullptr || root->file_system != "overlay")
    return no_layer(container, "its root is " + (root ? root->file_system : "nothing mounted"));
  const auto upper = root->option("upperdir");
  if (!upper) return no_layer(container, "its root is an overlay mount without an upper directory");
  if (root->option("userxattr"))
    return no_layer(container, "its root is an overlay mount with userxattr");
  auto directory = node_.open_directory(*upper);
  if (!directory) return directory.error().during("the layer of container " + container.name);
  return directory;
}

Result<std::string> PodContainers::sandbox() const {
  auto pids = cgroups_.processes();
  if (!pids) return pids.error();
  auto first = first_process(node_.proc(), *pids);
  if (!first) return first.error().during("the pod's sandbox");
  return node_.proc() + "/" + std::to_string(*first);
}

Result<UniqueFd> PodContainers::view_shared_memory() const {
  auto process = sandbox();
  if (!process) return process.error();
  auto directory = open_shared_memory();
  if (!directory) return directory.error();
  return clone_mount_of(*process, directory->get(), "the pod's /dev/shm",
                        volume_view(VolumeAccess::kRead));
}

// As the sandbox sees it: containers may have another one mounted over it.
Result<UniqueFd> PodContainers::open_shared_memory() const {
  auto process = sandbox();
  if (!process) return process.error();
  auto directory = open_in_root(*process, "dev/shm");
  if (!directory) return directory.error().during("the pod's /dev/shm");
  struct stat of_pod {};
  if (::fstat(directory->get(), &of_pod) != 0) return errno_error("stat the pod's /dev/shm", errno);
  auto nodes = node_.open_directory("/dev/shm");
  struct stat of_node {};
  if (nodes && ::fstat(nodes->get(), &of_node) == 0 && of_node.st_dev == of_pod.st_dev) {
    return Error{ErrorCode::kPreconditionFailed,
                 "the pod's /dev/shm is the node's (hostIPC): it does not go along"};
  }
  return directory;
}

}  // namespace transship::mover
