#include "mover/pod_cgroups.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/unique_fd.h"

namespace transship::mover {
namespace {

namespace fs = std::filesystem;
using api::SourceProcesses;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{10};
// A v1 cgroup can hang in FREEZING while a task forks; thawing in between lets it get on.
constexpr int kPollsUntilThaw = 50;
constexpr size_t kUidLength = 36;
constexpr std::string_view kSlice = ".slice";

// What a pod's directory is called for its UID: by the cgroupfs driver, and what is in the systemd
// one's.
struct PodName {
  explicit PodName(const std::string& uid)
      : plain("pod" + uid), slice("pod" + uid + std::string(kSlice)) {
    std::replace(slice.begin(), slice.end(), '-', '_');
  }
  [[nodiscard]] bool matches(const std::string& name) const {
    if (name == plain || name == slice) return true;
    return name.size() > slice.size() && name.ends_with("-" + slice);
  }
  std::string plain;
  std::string slice;
};

// Some pod's directory ("pod" and a UUID): nothing below it can be another pod's.
bool names_a_pod(std::string_view name) {
  if (name.ends_with(kSlice)) name.remove_suffix(kSlice.size());
  const size_t pod = name.rfind("pod");
  if (pod == std::string_view::npos) return false;
  name.remove_prefix(pod + 3);
  return name.size() == kUidLength &&
         std::count_if(name.begin(), name.end(), [](char c) { return c == '-' || c == '_'; }) == 4;
}

bool vanished(const std::error_code& error) {
  return error == std::errc::no_such_file_or_directory || error == std::errc::no_such_device;
}

// The directories in `directory`. One that vanishes meanwhile is no error; one that cannot be read
// is: to overlook a pod's cgroup would be to call a running pod dead.
Result<std::vector<fs::path>> subdirectories(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entries(directory, error); entries != fs::directory_iterator();
       entries.increment(error)) {
    // "cpu" may be a symlink to "cpu,cpuacct": only directories themselves.
    std::error_code status;
    if (fs::is_directory(entries->symlink_status(status))) found.push_back(entries->path());
    if (status && !vanished(status))
      return errno_error("list " + directory.string(), status.value());
  }
  if (error && !vanished(error)) return errno_error("list " + directory.string(), error.value());
  return found;
}

// Adds all pod directories of that name below `top`.
Status search(const fs::path& top, const PodName& pod, std::vector<std::string>& found) {
  std::vector<fs::path> pending = {top};
  while (!pending.empty()) {
    auto directories = subdirectories(pending.back());
    pending.pop_back();
    if (!directories) return directories.error();
    for (fs::path& path : *directories) {
      const std::string name = path.filename();
      if (pod.matches(name)) {
        found.push_back(path);
      } else if (!names_a_pod(name)) {
        pending.push_back(std::move(path));
      }
    }
  }
  return {};
}

// Adds the PIDs in `directory` and all below it. ENOENT and ENODEV: it went meanwhile, so it is
// empty.
Status collect(const fs::path& directory, std::set<int>& pids) {
  const UniqueFd file(::open((directory / "cgroup.procs").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid() && errno != ENOENT && errno != ENODEV) {
    return errno_error("read " + (directory / "cgroup.procs").string(), errno);
  }
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; file.valid() && (n = ::read(file.get(), buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno != EINTR && errno != ENODEV) return errno_error("read cgroup.procs", errno);
    if (n < 0 && errno == ENODEV) break;
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
  }
  std::istringstream in(text);
  for (int pid = 0; in >> pid;) pids.insert(pid);

  auto children = subdirectories(directory);
  if (!children) return children.error();
  for (const fs::path& child : *children) TRANSSHIP_TRY(collect(child, pids));
  return {};
}

Status write_file(const std::string& path, std::string_view text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return errno_error("open " + path, errno);
  if (::write(file.get(), text.data(), text.size()) < 0) return errno_error("write " + path, errno);
  return {};
}

struct FreezerFiles {
  const char* order;    // written
  const char* freeze;   // to stop
  const char* thaw;     // to let run
  const char* state;    // read
  const char* stopped;  // a line of it
};
constexpr FreezerFiles kFreezerV1{"freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN"};
constexpr FreezerFiles kFreezerV2{"cgroup.freeze", "1", "0", "cgroup.events", "frozen 1"};

bool says_frozen(const fs::path& directory, const FreezerFiles& files) {
  std::ifstream file(directory / files.state);
  for (std::string line; std::getline(file, line);) {
    if (line == files.stopped) return true;
  }
  return false;
}

// Whether that is what the cgroup's own file orders ("FREEZING" is the order to freeze, too).
bool orders(const fs::path& directory, const FreezerFiles& files, std::string_view what) {
  std::ifstream file(directory / files.order);
  std::string line;
  return std::getline(file, line) && line == what;
}

// Thaws `directory` and all below it, so also what somebody else froze there. Errors: it is gone.
void thaw_below(const fs::path& directory, const char* file, std::string_view thawed) {
  (void)write_file(directory / file, thawed);
  auto children = subdirectories(directory);
  if (!children) return;
  for (const fs::path& child : *children) thaw_below(child, file, thawed);
}

}  // namespace

Result<PodCgroups> PodCgroups::find(const std::string& cgroup_root, const std::string& pod_uid) {
  const PodName name(pod_uid);
  PodCgroups pod;
  pod.pod_uid_ = pod_uid;
  const auto add = [&](const fs::path& hierarchy, Freezer freezer) -> Status {
    std::vector<std::string> found;
    TRANSSHIP_TRY(search(hierarchy, name, found));
    for (std::string& path : found) pod.directories_.push_back({std::move(path), freezer});
    return {};
  };
  const fs::path root(cgroup_root);
  std::error_code ignored;
  if (fs::exists(root / "cgroup.controllers", ignored)) {
    TRANSSHIP_TRY(add(root, Freezer::kV2));
    return pod;
  }
  auto hierarchies = subdirectories(root);
  if (!hierarchies) return hierarchies.error();
  bool any_hierarchy = false;
  for (const fs::path& hierarchy : *hierarchies) {
    if (!fs::exists(hierarchy / "cgroup.procs", ignored)) continue;
    any_hierarchy = true;
    TRANSSHIP_TRY(
        add(hierarchy, hierarchy.filename() == "freezer" ? Freezer::kV1 : Freezer::kNone));
  }
  if (any_hierarchy) return pod;
  return Error{ErrorCode::kNotFound, "no cgroup hierarchy below " + cgroup_root};
}

Result<std::vector<int>> PodCgroups::processes() const {
  std::set<int> pids;
  for (const PodDirectory& directory : directories_) {
    TRANSSHIP_TRY(collect(directory.path, pids));
  }
  return std::vector<int>(pids.begin(), pids.end());
}

Result<std::vector<int>> PodCgroups::processes_of(const std::string& container_id) const {
  std::set<int> pids;
  const std::string scope =
      container_id + ".scope";  // the systemd driver's: "cri-containerd-ID.scope"
  for (const PodDirectory& directory : directories_) {
    auto below = subdirectories(directory.path);
    if (!below) return below.error();
    for (const fs::path& path : *below) {
      const std::string name = path.filename();
      if (name == container_id || name == scope || name.ends_with("-" + scope))
        TRANSSHIP_TRY(collect(path, pids));
    }
  }
  return std::vector<int>(pids.begin(), pids.end());
}

Result<SourceProcesses> PodCgroups::state() const {
  auto pids = processes();
  if (!pids) return pids.error();
  if (pids->empty()) return SourceProcesses::kNone;
  auto frozen = is_frozen();
  if (!frozen) return frozen.error();
  return *frozen ? SourceProcesses::kFrozen : SourceProcesses::kRunning;
}

Result<bool> PodCgroups::is_held() const {
  const PodDirectory* pod = freezer();
  if (!pod) return false;
  const FreezerFiles& files = pod->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2;
  if (!orders(pod->path, files, files.thaw)) return true;
  auto below = subdirectories(pod->path);
  if (!below) return below.error();
  for (const fs::path& path : *below) {
    std::set<int> pids;
    TRANSSHIP_TRY(collect(path, pids));
    if (!pids.empty() && orders(path, files, files.thaw)) return false;
  }
  return true;
}

Status PodCgroups::freeze(const Deadline& deadline) const {
  if (!found()) {
    return Error{ErrorCode::kNotFound,
                 "freeze pod " + pod_uid_ + ": it has no cgroup on this node"};
  }
  if (!freezer()) {
    return Error{ErrorCode::kPreconditionFailed,
                 "freeze pod " + pod_uid_ + ": the node has no cgroup freezer for it"};
  }
  const Deadline limit = deadline.at_most(kFreezeTimeout);
  Status outcome = write_freezer(true);
  for (int polls = 1; outcome.ok(); ++polls) {
    auto frozen = is_frozen();
    if (frozen.ok() && *frozen) return {};
    outcome = frozen.ok() ? limit.wait(kPoll, "freeze pod " + pod_uid_) : Status(frozen.error());
    if (outcome.ok() && polls % kPollsUntilThaw == 0) {
      if (freezer()->freezer == Freezer::kV1) outcome = write_freezer(false);
    }
    if (outcome.ok()) outcome = write_freezer(true);
  }
  // A pod half frozen is worse than one that runs.
  (void)write_freezer(false);
  return outcome;
}

Status PodCgroups::freeze_apart(const Deadline& deadline) const {
  auto frozen = is_frozen();
  if (!frozen) return frozen.error();
  if (!*frozen) return Error{ErrorCode::kPreconditionFailed, "pod " + pod_uid_ + " is not frozen"};
  const PodDirectory* pod = freezer();
  const FreezerFiles& files = pod->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2;
  auto below = subdirectories(pod->path);
  if (!below) return below.error();
  for (const fs::path& path : *below) TRANSSHIP_TRY(write_file(path / files.order, files.freeze));
  const Deadline limit = deadline.at_most(kFreezeTimeout);
  for (;;) {
    auto apart = all_below_are_frozen();
    if (!apart) return apart.error();
    if (*apart) break;
    TRANSSHIP_TRY(limit.wait(kPoll, "freeze each container of pod " + pod_uid_));
  }
  return write_freezer(false);
}

Status PodCgroups::freeze_together(const Deadline& deadline) const {
  TRANSSHIP_TRY(freeze(deadline));
  const PodDirectory* pod = freezer();
  const FreezerFiles& files = pod->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2;
  auto below = subdirectories(pod->path);
  if (!below) return below.error();
  for (const fs::path& path : *below) TRANSSHIP_TRY(write_file(path / files.order, files.thaw));
  return {};
}

Status PodCgroups::thaw() const {
  const PodDirectory* pod = freezer();
  if (!pod) return {};
  Status thawed = write_freezer(false);
  if (!thawed.ok()) return thawed.error().code == ErrorCode::kNotFound ? Status() : thawed;
  const FreezerFiles& files = pod->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2;
  thaw_below(pod->path, files.order, files.thaw);
  return {};
}

Status PodCgroups::kill(const Deadline& deadline) const {
  const Deadline limit = deadline.at_most(kKillTimeout);
  for (;;) {
    auto pids = processes();
    if (!pids) return pids.error();
    if (pids->empty()) {
      auto barred = bar();
      if (!barred) return barred.error();
      if (*barred) return {};
      continue;
    }
    std::vector<UniqueFd> handles;
    for (const int pid : *pids) {
      handles.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    }
    // A PID that is still a member now was one when its handle was opened, or is a new member:
    // either way a process of this pod. One that is not may have been reused by a stranger.
    auto members = processes();
    if (!members) return members.error();
    for (size_t i = 0; i < handles.size(); ++i) {
      if (!handles[i].valid()) continue;
      if (!std::binary_search(members->begin(), members->end(), (*pids)[i])) continue;
      if (::syscall(SYS_pidfd_send_signal, handles[i].get(), SIGKILL, nullptr, 0) != 0 &&
          errno != ESRCH) {
        return errno_error("kill process " + std::to_string((*pids)[i]) + " of pod " + pod_uid_,
                           errno);
      }
    }
    if (const PodDirectory* frozen = freezer()) {
      const FreezerFiles& files = frozen->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2;
      thaw_below(frozen->path, files.order, files.thaw);
    }
    TRANSSHIP_TRY(limit.wait(kPoll, "kill the processes of pod " + pod_uid_));
  }
}

// True where what is put into the pod's cgroup from now on does not run, and nothing was before.
Result<bool> PodCgroups::bar() const {
  if (!freezer()) return true;
  const Status frozen = write_freezer(true);
  // The kubelet takes the cgroup away once it knows that the pod is over.
  std::error_code ignored;
  if (!frozen.ok() && fs::exists(freezer()->path, ignored)) return frozen.error();
  auto pids = processes();
  if (!pids) return pids.error();
  return pids->empty();
}

const PodCgroups::PodDirectory* PodCgroups::freezer() const {
  const PodDirectory* best = nullptr;
  for (const PodDirectory& directory : directories_) {
    if (directory.freezer == Freezer::kV1) return &directory;
    if (directory.freezer == Freezer::kV2) best = &directory;
  }
  return best;
}

Status PodCgroups::write_freezer(bool frozen) const {
  const PodDirectory* directory = freezer();
  const FreezerFiles& files = directory->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2;
  return write_file(directory->path + "/" + files.order, frozen ? files.freeze : files.thaw);
}

Result<bool> PodCgroups::is_frozen() const {
  const PodDirectory* directory = freezer();
  if (!directory) return false;
  if (says_frozen(directory->path, directory->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2))
    return true;
  return all_below_are_frozen();
}

// Each cgroup below that has a process, and there is one.
Result<bool> PodCgroups::all_below_are_frozen() const {
  const PodDirectory* directory = freezer();
  auto below = subdirectories(directory->path);
  if (!below) return below.error();
  bool any = false;
  for (const fs::path& path : *below) {
    std::set<int> pids;
    TRANSSHIP_TRY(collect(path, pids));
    if (pids.empty()) continue;
    if (!says_frozen(path, directory->freezer == Freezer::kV1 ? kFreezerV1 : kFreezerV2))
      return false;
    any = true;
  }
  return any;
}

}  // namespace transship::mover
