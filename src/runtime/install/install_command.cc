#include "runtime/install/install_command.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/unique_fd.h"
#include "runtime/install/node_runtime.h"
#include "runtime/install/program_file.h"

namespace transship::runtime {
namespace {

constexpr const char* kReady = "ready";

struct InstallOptions {
  bool install = true;  // or uninstall
  bool once = false;
  int64_t restart_timeout = NodeRuntimeConfig().restart_deadline.count();
  std::string status_directory = "/run/transship-install";
};

void say(const std::string& line) { std::fprintf(stderr, "transship-runtime: %s\n", line.c_str()); }

int fail(const Error& error) {
  say(error.message);
  return EXIT_FAILURE;
}

Status set_ready(const std::string& directory, bool ready) {
  const std::string file = directory + "/" + kReady;
  if (!ready) {
    if (::unlink(file.c_str()) == 0 || errno == ENOENT) return {};
    return errno_error("remove " + file, errno);
  }
  const UniqueFd made(::open(file.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  return made.valid() ? Status() : errno_error("write " + file, errno);
}

// In a child: whoever executes something in this pod (its readiness probe) is put into the
// namespaces of the pod's first process, which therefore stays where it is.
int work_on_node(const InstallOptions& options, int self) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const UniqueFd mounts(::open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!mounts.valid() || ::setns(mounts.get(), CLONE_NEWNS) != 0) {
    return fail(errno_error("enter the node's file system (needs hostPID and privileges)", errno));
  }
  NodeRuntimeConfig config;
  config.tell = say;
  config.restart_deadline = std::chrono::seconds(options.restart_timeout);
  const Status done = options.install ? install_runtime(config, self) : uninstall_runtime(config);
  return done.ok() ? EXIT_SUCCESS : fail(done.error());
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

// For a container of any image: it has nothing, perhaps, that could do this.
int copy_self(const std::string& directory) {
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self.valid()) return fail(errno_error("open this program", errno));
  const auto copied = install_program(self.get(), directory + "/transship-runtime");
  return copied.ok() ? EXIT_SUCCESS : fail(copied.error());
}

int run_on_node(const InstallOptions& options) {
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self.valid()) return fail(errno_error("open this program", errno));
  if (!options.once) {
    const Status cleared = set_ready(options.status_directory, false);
    if (!cleared.ok()) return fail(cleared.error());
  }
  const pid_t child = ::fork();
  if (child < 0) return fail(errno_error("start a process for the node", errno));
  if (child == 0) ::_exit(work_on_node(options, self.get()));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status)) return 128 + WTERMSIG(status);
  if (WEXITSTATUS(status) != EXIT_SUCCESS || options.once) return WEXITSTATUS(status);
  const Status told = set_ready(options.status_directory, true);
  return told.ok() ? stay() : fail(told.error());
}

}  // namespace

bool is_install_command(std::string_view argument) {
  return argument == "install" || argument == "uninstall" || argument == "ready" ||
         argument == "stay";
}

int run_install_command(int argc, char** argv) {
  CLI::App app("Puts transship-runtime on a node as a runtime handler of containerd");
  app.require_subcommand(1);
  InstallOptions options;
  CLI::App* install = app.add_subcommand("install", "Put it there and stay until SIGTERM");
  CLI::App* uninstall =
      app.add_subcommand("uninstall", "Take it away, where no pod uses it, and stay until SIGTERM");
  CLI::App* ready = app.add_subcommand("ready", "Succeed where one of the two is done");
  for (CLI::App* command : {install, uninstall}) {
    command->add_flag("--once", options.once, "End instead of staying");
    command
        ->add_option("--restart-timeout", options.restart_timeout,
                     "Seconds that containerd may take to answer again")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  }
  for (CLI::App* command : {install, uninstall, ready}) {
    command
        ->add_option("--status-directory", options.status_directory,
                     "Where the pod keeps that it is done")
        ->capture_default_str();
  }
  CLI::App* staying = app.add_subcommand("stay", "Do nothing until SIGTERM");
  std::string copy_to;
  staying->add_option("--copy-to", copy_to,
                      "Put this program into a directory instead, and end: it runs in any image");
  CLI11_PARSE(app, argc, argv);
  if (*staying) return copy_to.empty() ? stay() : copy_self(copy_to);
  if (*ready) {
    struct stat found {};
    return ::stat((options.status_directory + "/" + kReady).c_str(), &found) == 0 ? EXIT_SUCCESS
                                                                                  : EXIT_FAILURE;
  }
  options.install = static_cast<bool>(*install);
  return run_on_node(options);
}

}  // namespace transship::runtime
