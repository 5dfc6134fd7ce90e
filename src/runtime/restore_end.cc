#include "runtime/restore_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/unique_fd.h"
#include "runtime/durable_file.h"
#include "runtime/freezer.h"
#include "runtime/pre_resume.h"
#include "runtime/scratch.h"

namespace transship::runtime {
namespace {

constexpr int kPatience = 5000;  // milliseconds, for a runc whose CRIU is gone

// Of any of its threads: Go starts programs from whichever it likes.
std::vector<pid_t> children(pid_t process) {
  std::vector<pid_t> all;
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  std::error_code ignored;
  for (std::filesystem::directory_iterator each(tasks, ignored), last; each != last;
       each.increment(ignored)) {
    std::ifstream list(each->path() / "children");
    for (pid_t pid = 0; list >> pid;) all.push_back(pid);
  }
  return all;
}

bool has_ended(int handle, int patience) {
  struct pollfd ended = {handle, POLLIN, 0};
  return ::poll(&ended, 1, patience) != 0;
}

// Where they are in a control group of their own, all that is in it; CRIU is put into the
// container's before it restores anything.
void end_child(pid_t child, const std::string& outside) {
  const auto group = Freezer::of(std::to_string(child), outside);
  if (group) {
    (void)group->freeze();
    Freezer::end(group->directory());
  }
  for (const pid_t each : children(child)) end_child(each, outside);
  (void)::kill(child, SIGKILL);
}

}  // namespace

void end_restore(pid_t runc, int handle, const std::string& outside) {
  // While it is stopped, the numbers of its children stay theirs.
  (void)::kill(runc, SIGSTOP);
  for (const pid_t child : children(runc)) end_child(child, outside);
  (void)::kill(runc, SIGCONT);
  // It takes its control groups away.
  if (has_ended(handle, kPatience)) return;
  (void)::kill(runc, SIGKILL);
  (void)has_ended(handle, kPatience);
}

void end_noted(const std::string& scratch) {
  const std::string socket = scratch + "/" + kPreResumeFile;
  for (const auto& file :
       {PreResume::control_group_file(socket), PreResume::early_control_group_file(socket)}) {
    const auto directory = read_file(file);
    if (directory && directory->has_value()) Freezer::end(**directory);
  }
}

void discard_restore(const Settings& settings, const std::string& id) {
  const std::string scratch = settings.scratch + "/" + id;
  const auto outside = Freezer::own_path();
  const auto text = read_file(scratch + "/" + kRuncFile);
  pid_t pid = 0;
  if (outside && text && text->has_value() &&
      std::from_chars((*text)->data(), (*text)->data() + (*text)->size(), pid).ec == std::errc()) {
    const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const auto words = read_file("/proc/" + std::to_string(pid) + "/cmdline");
    // The number may be another's by now.
    if (handle.valid() && words && words->value_or("").find(id) != std::string::npos) {
      end_restore(pid, handle.get(), *outside);
    }
  }
  end_noted(scratch);
  (void)Scratch::remove(scratch);
}

}  // namespace transship::runtime
