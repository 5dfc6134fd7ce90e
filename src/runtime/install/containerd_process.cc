#include "runtime/install/containerd_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include "base/directory_stream.h"
#include "base/unique_fd.h"
#include "runtime/install/command.h"

namespace transship::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::string link_target(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  return {target, static_cast<size_t>(std::max<ssize_t>(length, 0))};
}

// "--config FILE", "--config=FILE" and the same with one letter.
void read_arguments(const std::string& command_line, ContainerdProcess& process) {
  const std::vector<std::string> words = split(command_line, '\0');
  for (size_t i = 1; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const std::string name = words[i].substr(0, equals);
    const bool config = name == "--config" || name == "-config" || name == "-c";
    if (!config && name != "--address" && name != "-address" && name != "-a") continue;
    std::string& value = config ? process.config : process.address;
    if (equals != std::string::npos) {
      value = words[i].substr(equals + 1);
    } else if (i + 1 < words.size()) {
      value = words[++i];
    }
  }
}

// Field 22 of proc(5)'s stat; the name before field 3 may have blanks.
std::string start_of(const std::string& stat) {
  const std::vector<std::string> fields =
      split(stat.substr(std::min(stat.rfind(')'), stat.size())), ' ');
  return fields.size() > 20 ? fields[20] : "";
}

// The last *.service of the process's path in the control groups.
std::string unit_of(const std::string& cgroups) {
  for (const std::string& line : split(cgroups, '\n')) {
    const std::vector<std::string> parts = split(line, '/');
    if (!parts.empty() && parts.back().ends_with(".service")) return parts.back();
  }
  return "";
}

ContainerdProcess describe(const std::string& directory, pid_t pid) {
  ContainerdProcess process;
  process.pid = pid;
  process.started = start_of(content(directory + "/stat"));
  read_arguments(content(directory + "/cmdline"), process);
  process.path = kPath;
  for (const std::string& variable : split(content(directory + "/environ"), '\0')) {
    if (variable.starts_with("PATH=") && variable.size() > 5) process.path = variable.substr(5);
  }
  process.unit = unit_of(content(directory + "/cgroup"));
  return process;
}

bool answers(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket.c_str(), socket.size() + 1);
  const UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return connection.valid() &&
         ::connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

Status end_containerd(const ContainerdProcess& old) {
  struct stat systemd {};
  if (!old.unit.empty() && ::stat("/run/systemd/system", &systemd) == 0) {
    auto said = output_of({"systemctl", "restart", old.unit}, kPath, std::chrono::seconds(120));
    return said ? Status() : said.error().during("start " + old.unit + " again");
  }
  const auto now = find_containerd("/proc");
  if (!now || now->identity() != old.identity()) return {};  // it has ended already
  if (::kill(old.pid, SIGTERM) != 0 && errno != ESRCH) {
    return errno_error("send SIGTERM to containerd (" + std::to_string(old.pid) + ")", errno);
  }
  return {};
}

}  // namespace

Result<ContainerdProcess> find_containerd(const std::string& proc) {
  const UniqueFd directory(::open(proc.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_error("open " + proc, errno);
  auto names = list_directory(directory.get());
  if (!names) return names.error();
  std::vector<ContainerdProcess> found;
  const std::string node = link_target(proc + "/1/ns/mnt");
  for (const std::string& name : *names) {
    std::string process = proc;
    process.append("/").append(name);
    if (name.find_first_not_of("0123456789") != std::string::npos ||
        content(process + "/comm") != "containerd\n" || link_target(process + "/ns/mnt") != node) {
      continue;
    }
    found.push_back(describe(process, static_cast<pid_t>(std::stol(name))));
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) return Error{ErrorCode::kNotFound, "no containerd runs on this node"};
  std::string list;
  for (const ContainerdProcess& process : found) {
    list += (list.empty() ? "" : ", ") + std::to_string(process.pid) + " (" + process.config + ")";
  }
  return Error{ErrorCode::kPreconditionFailed,
               "more than one containerd runs on this node, which of them is kubelet's is not "
               "known: " +
                   list};
}

Status restart_containerd(const ContainerdProcess& old, const std::string& socket,
                          std::chrono::seconds deadline) {
  const auto end = Clock::now() + deadline;
  const std::string directory = socket.substr(0, socket.rfind('/'));
  const UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes.valid() || ::inotify_add_watch(changes.get(), directory.c_str(),
                                              IN_CREATE | IN_DELETE | IN_MOVED_TO) < 0) {
    return errno_error("watch " + directory, errno);
  }
  TRANSSHIP_TRY(end_containerd(old));
  for (;;) {
    const auto now = find_containerd("/proc");
    if (now && now->identity() != old.identity() && answers(socket)) return {};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) {
      return Error{ErrorCode::kTimeout,
                   "containerd was asked to start again, and none answered at " + socket +
                       " within " + std::to_string(deadline.count()) + " s"};
    }
    // A socket is made before it is listened to, and nothing tells when: hence no longer than this.
    pollfd waited{changes.get(), POLLIN, 0};
    ::poll(&waited, 1, static_cast<int>(std::min<int64_t>(left, 100)));
    char events[4096];
    while (::read(changes.get(), events, sizeof events) > 0) {
    }
  }
}

}  // namespace transship::runtime
