#include "mover/memory_dump.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>

#include "base/log.h"
#include "mover/node_command.h"
#include "mover/source_network.h"
#include "mover/tree_removal.h"

namespace transship::mover {
namespace {

using api::MoverContainer;

// CRIU waits for ever for a process that it cannot stop.
constexpr std::chrono::minutes kTimeout{10};
constexpr const char* kRuncRoot = "/run/containerd/runc/k8s.io";  // containerd's, for Kubernetes
constexpr const char* kConfig = "criu.conf";
// Open files that have no name any more go along up to a size. CRIU locks no network: its rules
// would stay where it is killed (source_network.h). The images say so, and it locks none for the
// restore either.
constexpr const char* kConfigText = "ghost-limit 1G\nnetwork-lock skip\n";
constexpr size_t kLines = 3;

std::string memory_tree(const MoverContainer& container) { return "memory." + container.name; }
std::string work_tree(const MoverContainer& container) { return "work." + container.name; }

Status write_config(int directory) {
  const UniqueFd file(
      ::openat(directory, kConfig, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  const std::string_view text = kConfigText;
  if (!file.valid() ||
      ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return errno_error("write CRIU's configuration", errno);
  return {};
}

Status check_frozen(const PodCgroups& cgroups, const std::string& otherwise) {
  auto state = cgroups.state();
  if (!state) return state.error();
  if (*state == api::SourceProcesses::kFrozen) return {};
  return Error{ErrorCode::kPreconditionFailed,
               otherwise + ": its memory would not be of one moment with its volumes"};
}

// While CRIU has a container thawed, the kubelet's exec probes get into it.
Status check_held(const PodCgroups& cgroups, const std::string& otherwise) {
  auto held = cgroups.is_held();
  if (!held) return held.error();
  if (*held) return {};
  return Error{ErrorCode::kPreconditionFailed,
               otherwise + ": its memory would not be of one moment with its volumes"};
}

// The end of a file; empty where there is none.
std::string read_end(int directory, const char* name) {
  constexpr off_t kMost = 65536;
  const UniqueFd file(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return {};
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::string text(static_cast<size_t>(std::clamp<off_t>(size, 0, kMost)), '\0');
  const ssize_t n = ::pread(file.get(), text.data(), text.size(), std::max<off_t>(0, size - kMost));
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, n)));
  return text;
}

bool contains_any(std::string_view line, const auto& parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return line.find(part) != line.npos; });
}

std::string join(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += (all.empty() ? "" : "; ") + line;
  return all;
}

// The last words of a program that says no more than that.
std::string last_line(const std::string& output) {
  std::istringstream in(output);
  std::string last;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) last = line;
  }
  return last.empty() ? "it said nothing" : last.substr(0, 1000);
}

}  // namespace

std::string telling_lines(std::string_view log) {
  constexpr std::array<std::string_view, 6> kHarmless = {
      "Can't setup RLIMIT_NOFILE", "Dumping FAILED",     "Dump files (pid",
      "Dump mappings (pid",        "Pre-dumping FAILED", "Can't dump task"};
  std::vector<std::string> lines;
  while (!log.empty()) {
    std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    if (line.find("Error (") == line.npos || contains_any(line, kHarmless)) continue;
    // "(00.012345)     42: Error (criu/x.c:1): what"
    line.remove_prefix(line.find("Error ("));
    if (const size_t what = line.find("): "); what != line.npos) line.remove_prefix(what + 3);
    lines.emplace_back(line.substr(0, 400));
  }
  if (lines.size() > kLines) lines.erase(lines.begin(), lines.end() - kLines);
  return join(lines);
}

Status MemoryDump::run(const std::string& pod_uid, const std::vector<MoverContainer>& containers,
                       const Deadline& deadline) const {
  TRANSSHIP_TRY(kill_commands(node_, mark_, deadline));
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  TRANSSHIP_TRY(check_frozen(*cgroups, "pod " + pod_uid + " is not frozen"));
  Status done = empty(containers, deadline);
  if (done.ok()) done = cgroups->freeze_apart(deadline);
  if (done.ok()) done = hold_source_network(node_, *cgroups);
  if (done.ok()) done = dump_all(containers, deadline);
  if (done.ok()) done = check_held(*cgroups, "pod " + pod_uid + " was let go by its dump");
  // Before anything else, since a freeze that fails lets the pod go on. A thaw tries it again.
  if (const Status released = release_source_network(node_, *cgroups); !released.ok())
    log::error("cannot release the frozen pod's network", {{"error", released.error().message}});
  // Whatever the deadline: a stop, or its end, is no reason to let the pod go on.
  const Deadline without_end{std::stop_token(), kFreezeTimeout};
  const Status frozen = cgroups->freeze_together(without_end);
  if (!frozen.ok()) {
    done = done.ok() ? frozen.error().during("freeze the pod again after its dump")
                     : Error{done.error().code,
                             done.error().message + "; and then " + frozen.error().message};
  }
  if (!done.ok()) {
    if (const Status gone = empty(containers, without_end); !gone.ok())
      log::warning("cannot remove the images", {{"error", gone.error().message}});
  }
  return done;
}

// A session may hold the directories already.
Status MemoryDump::empty(const std::vector<MoverContainer>& containers,
                         const Deadline& deadline) const {
  for (const MoverContainer& container : containers) {
    if (!container.memory) continue;
    auto images = trees_.open(memory_tree(container));
    if (!images) return images.error();
    TRANSSHIP_TRY(empty_directory(images->get(), deadline));
    TRANSSHIP_TRY(trees_.remove(work_tree(container), deadline));
  }
  return {};
}

Status MemoryDump::dump_all(const std::vector<MoverContainer>& containers,
                            const Deadline& deadline) const {
  for (const MoverContainer& container : containers) {
    if (!container.memory) continue;
    const auto began = Deadline::Clock::now();
    const Status dumped = dump(container, deadline.at_most(kTimeout));
    if (!dumped.ok())
      return dumped.error().during("dump the memory of container " + container.name);
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(Deadline::Clock::now() - began);
    log::info("memory dumped",
              {{"container", container.name}, {"milliseconds", std::to_string(took.count())}});
  }
  return {};
}

Status MemoryDump::dump(const MoverContainer& container, const Deadline& deadline) const {
  auto work = trees_.renew(work_tree(container), deadline);
  if (!work) return work.error();
  TRANSSHIP_TRY(write_config(work->get()));
  const std::string images = trees_.path(memory_tree(container));
  const std::string working = trees_.path(work_tree(container));
  const NodeCommand command{
      {"runc", "--root", kRuncRoot, "checkpoint", "--leave-running", "--tcp-established",
       "--tcp-skip-in-flight",  // accepted by nobody yet: a probe of the kubelet, say
       "--file-locks", "--image-path", images, "--work-path", working, container.id},
      {"CRIU_CONFIG_FILE=" + working + "/" + kConfig}};
  auto end = run_on_node(node_, command, mark_, deadline);
  if (!end) {
    const std::string why = telling_lines(read_end(work->get(), "dump.log"));
    Error error = end.error();
    if (!why.empty()) error.message += " (CRIU's last errors: " + why + ")";
    return error;
  }
  if (end->status != 0) {
    const std::string why = telling_lines(read_end(work->get(), "dump.log"));
    return Error{ErrorCode::kPreconditionFailed, "runc checkpoint ended with status " +
                                                     std::to_string(end->status) + ": " +
                                                     (why.empty() ? last_line(end->output) : why)};
  }
  auto written = trees_.open(memory_tree(container));
  if (!written) return written.error();
  if (::faccessat(written->get(), "inventory.img", F_OK, 0) != 0)
    return errno_error("find the images that runc checkpoint was to write to " + images, errno);
  return trees_.remove(work_tree(container), deadline);
}

}  // namespace transship::mover
