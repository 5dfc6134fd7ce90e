#include "runtime/runc.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace transship::runtime {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int kCannotRun = 127;

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  all.reserve(words.size() + 1);
  for (const auto& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

// runc finds CRIU by PATH only: the one that the settings name, the node's own, or one beside us.
std::string path_for(const Settings& settings) {
  const char* own = ::getenv("PATH");
  std::string path = own != nullptr && *own != '\0' ? own : kDefaultPath;
  if (settings.criu.empty()) {
    return path.append(":").append(settings.self, 0, settings.self.rfind('/'));
  }
  return settings.criu.substr(0, settings.criu.rfind('/')) + ":" + path;
}

}  // namespace

Runc::Runc(const Settings& settings, const Arguments& arguments)
    : program_(settings.runc), path_(path_for(settings)), global_(arguments.global) {}

Error Runc::become(const std::vector<std::string>& words) const {
  std::vector<std::string> all = {program_};
  all.insert(all.end(), words.begin(), words.end());
  ::setenv("PATH", path_.c_str(), 1);
  ::execvp(program_.c_str(), pointers(all).data());
  return errno_error("run " + program_ + " (PATH=" + path_ + ")", errno);
}

Result<Runc::Child> Runc::fork_child(const std::vector<std::string>& words,
                                     const std::vector<std::string>& environment,
                                     Manner manner) const {
  std::vector<std::string> all = {program_};
  all.insert(all.end(), words.begin(), words.end());
  const std::vector<char*> arguments = pointers(all);
  const pid_t parent = ::getpid();
  Child child;
  child.pid = ::fork();
  if (child.pid < 0) return errno_error("make a process for " + program_, errno);
  if (child.pid == 0) {
    if (manner != Manner::kOutlives) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(kCannotRun);
    }
    if (manner == Manner::kAside) {
      const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
      for (int fd = 0; fd <= 2; ++fd) ::dup2(nothing, fd);
    }
    ::setenv("PATH", path_.c_str(), 1);
    for (const auto& each : environment) ::putenv(const_cast<char*>(each.c_str()));
    ::execvp(program_.c_str(), arguments.data());
    ::_exit(kCannotRun);
  }
  child.handle.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.handle.valid()) {
    const int problem = errno;
    ::kill(child.pid, SIGKILL);
    wait(child);
    return errno_error("watch " + program_ + " (Linux 5.3 or newer is needed)", problem);
  }
  return child;
}

Result<Runc::Child> Runc::begin(const std::vector<std::string>& words,
                                const std::vector<std::string>& environment) const {
  return fork_child(words, environment, Manner::kOutlives);
}

int Runc::wait(const Child& child) {
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0) {
    if (errno != EINTR) return kCannotRun;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<int> Runc::run(const std::vector<std::string>& words) const {
  auto child = fork_child(words, {}, Manner::kDiesWithUs);
  if (!child) return child.error();
  return wait(*child);
}

Result<int> Runc::run_aside(const std::vector<std::string>& words) const {
  auto child = fork_child(with_globals(words), {}, Manner::kAside);
  if (!child) return child.error();
  return wait(*child);
}

std::vector<std::string> Runc::with_globals(std::vector<std::string> words) const {
  words.insert(words.begin(), global_.begin(), global_.end());
  return words;
}

}  // namespace transship::runtime
