#include "mover/source_network.h"

#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <tuple>

#include "mover/deadline.h"
#include "runtime/pod_network.h"

namespace transship::mover {
namespace {

constexpr int kTries = 5;
constexpr std::chrono::milliseconds kPause{50};

// In clock ticks since the boot: the 22nd field of proc_pid_stat(5). None: the process is gone.
std::optional<unsigned long long> start_of(const std::string& process) {
  std::ifstream file(process + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  unsigned long long start = 0;
  if (!(fields >> start)) return std::nullopt;
  return start;
}

// Empty: the pod has none of its own.
Result<std::string> network_of(const Node& node, const PodCgroups& cgroups) {
  const auto pids = cgroups.processes();
  if (!pids) return pids.error();
  std::optional<std::tuple<unsigned long long, int>> oldest;
  for (const int pid : *pids) {
    const auto start = start_of(node.proc() + "/" + std::to_string(pid));
    if (start && (!oldest || std::tuple(*start, pid) < *oldest)) oldest = {*start, pid};
  }
  if (!oldest) return std::string();
  const std::string path = node.proc() + "/" + std::to_string(std::get<1>(*oldest)) + "/ns/net";
  struct stat pod {};
  if (::stat(path.c_str(), &pod) != 0) {
    // ENOENT: it has ended meanwhile, or is a zombie; then the pod ends.
    if (errno == ENOENT || errno == ESRCH) return std::string();
    return errno_error("look at the pod's network namespace " + path, errno);
  }
  struct stat nodes {};
  const std::string of_node = node.config().process + "/ns/net";
  if (::stat(of_node.c_str(), &nodes) != 0)
    return errno_error("look at the node's network namespace " + of_node, errno);
  if (pod.st_dev == nodes.st_dev && pod.st_ino == nodes.st_ino) return std::string();
  return path;
}

}  // namespace

Status hold_source_network(const Node& node, const PodCgroups& cgroups) {
  const auto network = network_of(node, cgroups);
  if (!network) return network.error();
  return network->empty() ? Status() : runtime::hold_network(*network, /*old_address=*/"");
}

Status release_source_network(const Node& node, const PodCgroups& cgroups) {
  const Deadline without_end{std::stop_token(), std::chrono::milliseconds(0)};
  Status released;
  for (int tries = 0; tries < kTries; ++tries) {
    if (tries > 0) (void)without_end.wait(kPause, "release the pod's network again");
    const auto network = network_of(node, cgroups);
    if (network && network->empty()) return {};
    released =
        network ? runtime::release_network(*network, /*old_address=*/"") : Status(network.error());
    if (released.ok()) return {};
  }
  return released;
}

}  // namespace transship::mover
