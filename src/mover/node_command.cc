#include "mover/node_command.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>

namespace transship::mover {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "TRANSSHIP_COMMAND=";
constexpr size_t kKept = 16384;  // bytes of output
constexpr std::chrono::milliseconds kPoll{10};
constexpr std::chrono::seconds kKillTimeout{30};
constexpr int kCannotEnter = 126;
constexpr int kCannotStart = 127;

// What the child needs is made before it is there: it may not allocate.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
  }
  [[nodiscard]] char* const* get() const { return pointers_.data(); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

std::vector<std::string> candidates(const std::string& program) {
  if (program.starts_with('/')) return {program};
  std::vector<std::string> paths;
  std::istringstream in(kNodePath);
  for (std::string directory; std::getline(in, directory, ':');)
    paths.push_back(directory + "/" + program);
  return paths;
}

// Paths of cgroups are relative to the namespace of who reads them, too.
[[noreturn]] void become(int mounts, int cgroups, int output, const std::vector<std::string>& paths,
                         const Words& words, const Words& environment) {
  ::setpgid(0, 0);
  if (::setns(cgroups, CLONE_NEWCGROUP) != 0 || ::setns(mounts, CLONE_NEWNS) != 0)
    ::_exit(kCannotEnter);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  for (const std::string& path : paths) ::execve(path.c_str(), words.get(), environment.get());
  ::_exit(kCannotStart);
}

// Becomes readable when the task is asked to stop.
class StopSignal {
 public:
  explicit StopSignal(const std::stop_token& stop)
      : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(stop, [this] {
          const uint64_t one = 1;
          (void)!::write(fd_.get(), &one, sizeof one);
        }) {}
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::stop_callback<std::function<void()>> callback_;
};

int milliseconds_left(const Deadline& deadline) {
  if (!deadline.end()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(*deadline.end() - Deadline::Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

bool is_marked(const fs::path& process, const std::string& mark) {
  std::ifstream file(process / "environ", std::ios::binary);
  for (std::string entry; std::getline(file, entry, '\0');) {
    if (entry == kMark + mark) return true;
  }
  return false;
}

// How many there were.
int signal_marked(const Node& node, const std::string& mark) {
  int found = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(node.proc(), error)) {
    const std::string name = entry.path().filename();
    if (name.empty() || name.find_first_not_of("0123456789") != std::string::npos) continue;
    const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, std::stoi(name), 0)));
    if (!handle.valid() || !is_marked(entry.path(), mark)) continue;
    ++found;
    ::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0);
  }
  return found;
}

// The command's process: ended and waited for at the latest when this goes.
class Running {
 public:
  Running(const Node& node, const std::string& mark, pid_t pid)
      : node_(node),
        mark_(mark),
        pid_(pid),
        handle_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  ~Running() { (void)end(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  // Reads what it writes until it has ended.
  Status follow(int output, std::string& kept, const Deadline& deadline) {
    const StopSignal stop(deadline.stop());
    std::array<pollfd, 3> fds{
        {{handle_.get(), POLLIN, 0}, {output, POLLIN, 0}, {stop.fd(), POLLIN, 0}}};
    while (true) {
      TRANSSHIP_TRY(deadline.check("run it"));
      if (::poll(fds.data(), fds.size(), milliseconds_left(deadline)) < 0 && errno != EINTR)
        return errno_error("wait for it", errno);
      const bool ended = fds[0].revents != 0;
      if (!drain(output, kept)) fds[1].fd = -1;
      if (ended) return {};
    }
  }

  // Kills what still runs.
  int end() {
    if (pid_ <= 0) return status_;
    int status = 0;
    while (true) {
      const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
      if (reaped == pid_) break;
      if (reaped < 0 && errno != EINTR) break;
      signal_marked(node_, mark_);
      ::kill(-pid_, SIGKILL);
      pollfd handle{handle_.get(), POLLIN, 0};
      ::poll(&handle, 1, static_cast<int>(kPoll.count()));
    }
    pid_ = 0;
    return status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  // What can be read now; false at the end.
  static bool drain(int output, std::string& kept) {
    std::array<char, 4096> buffer{};
    while (true) {
      const ssize_t n = ::read(output, buffer.data(), buffer.size());
      if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
      kept.append(buffer.data(), static_cast<size_t>(n));
      if (kept.size() > kKept) kept.erase(0, kept.size() - kKept);
    }
  }

  const Node& node_;
  const std::string& mark_;
  pid_t pid_;
  UniqueFd handle_;
  int status_ = 0;
};

}  // namespace

Result<CommandEnd> run_on_node(const Node& node, const NodeCommand& command,
                               const std::string& mark, const Deadline& deadline) {
  const std::string& program = command.words.front();
  const std::string spaces = node.config().process + "/ns/";
  const UniqueFd mounts(::open((spaces + "mnt").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd cgroups(::open((spaces + "cgroup").c_str(), O_RDONLY | O_CLOEXEC));
  if (!mounts.valid() || !cgroups.valid())
    return errno_error("open the node's namespaces in " + spaces + " to run " + program, errno);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return errno_error("make a pipe", errno);
  const UniqueFd output(ends[0]);
  UniqueFd theirs(ends[1]);
  std::vector<std::string> variables = command.environment;
  variables.push_back(std::string("PATH=") + kNodePath);
  variables.push_back(kMark + mark);
  const Words words(command.words);
  const Words environment(std::move(variables));
  const std::vector<std::string> paths = candidates(program);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork to run " + program, errno);
  if (pid == 0) become(mounts.get(), cgroups.get(), theirs.get(), paths, words, environment);
  theirs.reset();
  Running running(node, mark, pid);
  CommandEnd end;
  const Status followed = running.follow(output.get(), end.output, deadline);
  end.status = running.end();
  if (!followed.ok()) {
    const Status ended = kill_commands(node, mark, {std::stop_token(), kKillTimeout});
    Error error = followed.error().during(program + " on node " + node.config().name);
    if (!ended.ok()) error.message += "; and then " + ended.error().message;
    return error;
  }
  if (end.status == kCannotStart)
    return Error{ErrorCode::kNotFound, program + " is not on node " + node.config().name +
                                           " (looked for in " + kNodePath + ")"};
  if (end.status == kCannotEnter)
    return Error{ErrorCode::kForbidden, "enter the node's mounts to run " + program +
                                            ": the mover needs hostPID and CAP_SYS_ADMIN"};
  return end;
}

Status kill_commands(const Node& node, const std::string& mark, const Deadline& deadline) {
  const Deadline limit = deadline.at_most(kKillTimeout);
  while (signal_marked(node, mark) > 0)
    TRANSSHIP_TRY(limit.wait(kPoll, "wait for the end of an earlier dump"));
  return {};
}

}  // namespace transship::mover
