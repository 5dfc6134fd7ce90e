#include "runtime/install/install_command.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/unique_fd.h"
#include "runtime/install/node_runtime.h"

namespace transship::runtime {
namespace {

constexpr const char* kReady = "ready";

void say(const std::string& line) { std::fprintf(stderr, "transship-runtime: %s\n", line.c_str()); }

int fail(const Error& error) {
  say(error.message);
  return EXIT_FAILURE;
}

// A directory of the pod, held while the process is in the node's file system.
class ReadyFile {
 public:
  explicit ReadyFile(const std::string& directory)
      : directory_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
        name_(directory + "/" + kReady) {}

  [[nodiscard]] Status set(bool ready) const {
    if (!directory_.valid()) return errno_error("open the directory of " + name_, EBADF);
    if (!ready) {
      if (::unlinkat(directory_.get(), kReady, 0) == 0 || errno == ENOENT) return {};
      return errno_error("remove " + name_, errno);
    }
    const UniqueFd file(
        ::openat(directory_.get(), kReady, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
    return file.valid() ? Status() : errno_error("write " + name_, errno);
  }

 private:
  UniqueFd directory_;
  std::string name_;
};

Status enter_node() {
  const UniqueFd mounts(::open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!mounts.valid() || ::setns(mounts.get(), CLONE_NEWNS) != 0) {
    return errno_error("enter the node's file system (needs hostPID and privileges)", errno);
  }
  return {};
}

// What a pod is ended by.
sigset_t ends() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

int stay() {
  const sigset_t signals = ends();
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  int signal = 0;
  ::sigwait(&signals, &signal);
  return EXIT_SUCCESS;
}

int run_on_node(bool install, const std::string& status_directory, bool once) {
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self.valid()) return fail(errno_error("open this program", errno));
  const ReadyFile ready(status_directory);
  if (!once) {
    const Status cleared = ready.set(false);
    if (!cleared.ok()) return fail(cleared.error());
  }
  const Status entered = enter_node();
  if (!entered.ok()) return fail(entered.error());
  NodeRuntimeConfig config;
  config.tell = say;
  const Status done = install ? install_runtime(config, self.get()) : uninstall_runtime(config);
  if (!done.ok()) return fail(done.error());
  if (once) return EXIT_SUCCESS;
  const Status told = ready.set(true);
  return told.ok() ? stay() : fail(told.error());
}

}  // namespace

bool is_install_command(std::string_view argument) {
  return argument == "install" || argument == "uninstall" || argument == "ready";
}

int run_install_command(int argc, char** argv) {
  CLI::App app("Puts transship-runtime on a node as a runtime handler of containerd");
  app.require_subcommand(1);
  std::string directory = "/run/transship-install";
  bool once = false;
  CLI::App* install = app.add_subcommand("install", "Put it there and stay until SIGTERM");
  CLI::App* uninstall =
      app.add_subcommand("uninstall", "Take it away, where no pod uses it, and stay until SIGTERM");
  CLI::App* ready = app.add_subcommand("ready", "Succeed where one of the two is done");
  for (CLI::App* command : {install, uninstall}) {
    command->add_flag("--once", once, "End instead of staying");
  }
  for (CLI::App* command : {install, uninstall, ready}) {
    command->add_option("--status-directory", directory, "Where the pod keeps that it is done")
        ->capture_default_str();
  }
  CLI11_PARSE(app, argc, argv);
  if (*ready) {
    struct stat found {};
    return ::stat((directory + "/" + kReady).c_str(), &found) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  return run_on_node(static_cast<bool>(*install), directory, once);
}

}  // namespace transship::runtime
