#include "runtime/freezer.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "base/unique_fd.h"

namespace transship::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kDeadline{10000};
constexpr milliseconds kLook{1};  // v1 tells nobody when it is frozen

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Status write_text(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return errno_error("open " + path, errno);
  if (::write(file.get(), text.data(), text.size()) < 0) {
    return errno_error("write " + text + " to " + path, errno);
  }
  return {};
}

struct Membership {
  bool v2 = false;
  std::string path;
};

// Lines are "N:CONTROLLERS:PATH"; v2's is "0::PATH" (cgroups(7)). v1's freezer comes first where
// both are there: a container is in it then.
std::optional<Membership> membership(const std::string& cgroups) {
  std::optional<Membership> found;
  std::istringstream in(cgroups);
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers.find(",freezer,") != std::string::npos) return Membership{false, path};
    if (controllers == ",,") found = Membership{true, path};
  }
  return found;
}

// Where that hierarchy is mounted, all of it.
std::optional<std::string> hierarchy(bool v2) {
  std::istringstream in(read_text("/proc/self/mountinfo"));
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, target, word, type, source, options;
    fields >> id >> parent >> device >> root >> target;
    while (fields >> word && word != "-") {
    }
    fields >> type >> source >> options;
    if (root != "/") continue;
    if (v2 && type == "cgroup2") return target;
    if (!v2 && type == "cgroup" && ("," + options + ",").find(",freezer,") != std::string::npos) {
      return target;
    }
  }
  return std::nullopt;
}

std::vector<std::string> processes(const std::string& directory) {
  std::vector<std::string> pids;
  std::istringstream in(read_text(directory + "/cgroup.procs"));
  for (std::string pid; in >> pid;) pids.push_back(pid);
  return pids;
}

std::string mount_namespace(const std::string& pid) {
  char name[PATH_MAX];
  const ssize_t n = ::readlink(("/proc/" + pid + "/ns/mnt").c_str(), name, sizeof name);
  return n > 0 ? std::string(name, static_cast<size_t>(n)) : std::string();
}

bool is_frozen(const std::string& directory, bool v2) {
  if (!v2) return read_text(directory + "/freezer.state").starts_with("FROZEN");
  return read_text(directory + "/cgroup.events").find("frozen 1") != std::string::npos;
}

}  // namespace

Result<std::string> Freezer::own_path() {
  const auto ours = membership(read_text("/proc/self/cgroup"));
  if (ours) return ours->path;
  return Error{ErrorCode::kPreconditionFailed, "/proc/self/cgroup names no freezer"};
}

Result<Freezer> Freezer::of(const std::string& process, const std::string& outside) {
  const std::string file = "/proc/" + process + "/cgroup";
  const auto theirs = membership(read_text(file));
  if (!theirs) return Error{ErrorCode::kPreconditionFailed, file + " names no freezer"};
  const auto top = hierarchy(theirs->v2);
  if (!top) {
    return Error{ErrorCode::kPreconditionFailed, "no control group hierarchy has a freezer"};
  }
  if (theirs->path == "/" || (outside + "/").starts_with(theirs->path + "/")) {
    return Error{ErrorCode::kPreconditionFailed,
                 "the control group " + theirs->path + " holds transship-runtime itself"};
  }
  Freezer freezer;
  freezer.v2_ = theirs->v2;
  freezer.directory_ = *top + theirs->path;
  freezer.outside_ = *top + outside;
  return freezer;
}

void Freezer::end(const std::string& directory, std::initializer_list<pid_t> spared) {
  // A container may have made control groups below its own.
  std::vector<std::string> all = {directory};
  std::error_code ignored;
  for (std::filesystem::recursive_directory_iterator each(directory, ignored), last; each != last;
       each.increment(ignored)) {
    if (each->is_directory(ignored)) all.push_back(each->path());
  }
  for (const auto& group : all) {
    for (const auto& pid : processes(group)) {
      int number = 0;
      const auto read = std::from_chars(pid.data(), pid.data() + pid.size(), number);
      if (read.ec != std::errc() || number <= 1) continue;
      if (std::find(spared.begin(), spared.end(), number) == spared.end()) {
        (void)::kill(number, SIGKILL);
      }
    }
  }
  (void)write_text(directory + "/freezer.state", "THAWED");
  (void)write_text(directory + "/cgroup.freeze", "0");
}

Status Freezer::let_out_ours() const {
  const std::string own = mount_namespace("self");
  for (const auto& pid : processes(directory_)) {
    if (mount_namespace(pid) != own) continue;
    Status moved = write_text(outside_ + "/cgroup.procs", pid);
    if (!moved.ok() && mount_namespace(pid) == own) return moved;
  }
  return {};
}

Status Freezer::freeze() const {
  const std::string file = directory_ + (v2_ ? "/cgroup.freeze" : "/freezer.state");
  TRANSSHIP_TRY(write_text(file, v2_ ? "1" : "FROZEN"));
  const UniqueFd events(v2_ ? ::open((directory_ + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC)
                            : -1);
  const auto end = steady_clock::now() + kDeadline;
  while (!is_frozen(directory_, v2_)) {
    if (steady_clock::now() >= end) {
      (void)write_text(file, v2_ ? "0" : "THAWED");
      return Error{ErrorCode::kTimeout, directory_ + " did not freeze"};
    }
    struct pollfd change = {events.get(), POLLPRI, 0};
    ::poll(&change, v2_ ? 1 : 0, static_cast<int>(v2_ ? kDeadline.count() : kLook.count()));
  }
  return {};
}

}  // namespace transship::runtime
