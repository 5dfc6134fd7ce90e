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
#include "runtime/install/node_facts.h"
#include "runtime/install/node_runtime.h"
#include "runtime/install/program_file.h"
#include "runtime/install/self_test.h"

namespace transship::runtime {
namespace {

constexpr const char* kReady = "ready";
constexpr const char* kContainer = "self-test-container";
constexpr const char* kUsualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

enum class NodeWork { kInspect, kInstall, kUninstall };

struct InstallOptions {
  NodeWork work = NodeWork::kInstall;
  bool once = false;
  std::string facts = "/dev/termination-log";
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

// What is written is there also where the node cannot do what it should.
int inspect(int self, int facts) {
  const NodeFacts found = look_at_node(self);
  const std::string text = to_text(found);
  if (::write(facts, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail(errno_error("write what was found of the node", errno));
  if (!found.problem.empty()) return fail({ErrorCode::kPreconditionFailed, found.problem});
  say("runc " + found.runc + " and CRIU " + found.criu +
      " dump and restore a process that listens at a TCP port");
  return EXIT_SUCCESS;
}

// In a child: whoever executes something in this pod (its readiness probe) is put into the
// namespaces of the pod's first process, which therefore stays where it is.
int work_on_node(const InstallOptions& options, int self, int facts) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const UniqueFd mounts(::open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!mounts.valid() || ::setns(mounts.get(), CLONE_NEWNS) != 0) {
    return fail(errno_error("enter the node's file system (needs hostPID and privileges)", errno));
  }
  if (options.work == NodeWork::kInspect) return inspect(self, facts);
  NodeRuntimeConfig config;
  config.tell = say;
  config.restart_deadline = std::chrono::seconds(options.restart_timeout);
  const Status done = options.work == NodeWork::kInstall ? install_runtime(config, self)
                                                         : uninstall_runtime(config);
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

// By hand, on a node.
int test_this_node(const std::string& runc) {
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self.valid()) return fail(errno_error("open this program", errno));
  const char* given = std::getenv("PATH");
  const std::string path = given != nullptr ? given : kUsualPath;
  auto programs = check_programs(runc, path);
  if (!programs) return fail(programs.error());
  SelfTest test;
  test.programs = *programs;
  test.path = path;
  test.self = self.get();
  const Status passed = self_test(test);
  if (!passed.ok()) return fail(passed.error());
  say("runc " + programs->runc_version + " and CRIU " + programs->criu_version +
      " dump and restore a process that listens at a TCP port");
  return EXIT_SUCCESS;
}

int run_on_node(const InstallOptions& options) {
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self.valid()) return fail(errno_error("open this program", errno));
  // Of the pod, so before the node's files are all there is.
  UniqueFd facts;
  if (options.work == NodeWork::kInspect) {
    facts.reset(::open(options.facts.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!facts.valid()) return fail(errno_error("write " + options.facts, errno));
  }
  if (!options.once) {
    const Status cleared = set_ready(options.status_directory, false);
    if (!cleared.ok()) return fail(cleared.error());
  }
  const pid_t child = ::fork();
  if (child < 0) return fail(errno_error("start a process for the node", errno));
  if (child == 0) ::_exit(work_on_node(options, self.get(), facts.get()));
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
  for (const char* name :
       {"inspect", "install", "uninstall", "ready", "stay", "self-test", kContainer}) {
    if (argument == name) return true;
  }
  return false;
}

int run_install_command(int argc, char** argv) {
  CLI::App app("Puts transship-runtime on a node as a runtime handler of containerd");
  app.require_subcommand(1);
  InstallOptions options;
  CLI::App* inspecting = app.add_subcommand(
      "inspect", "Write down what the node is, fail where it cannot dump and restore, and end");
  inspecting->add_option("--facts-file", options.facts, "Where to")->capture_default_str();
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
  CLI::App* testing = app.add_subcommand(
      "self-test", "On a node: dump and restore a process that listens at a TCP port");
  std::string runc = "runc";
  testing->add_option("--runc", runc, "Name or path")->capture_default_str();
  CLI::App* staying = app.add_subcommand("stay", "Do nothing until SIGTERM");
  std::string copy_to;
  staying->add_option("--copy-to", copy_to,
                      "Put this program into a directory instead, and end: it runs in any image");
  app.add_subcommand(kContainer, "What the self-test runs")->group("");
  CLI11_PARSE(app, argc, argv);
  if (app.got_subcommand(kContainer)) return self_test_container();
  if (*testing) return test_this_node(runc);
  if (*staying) return copy_to.empty() ? stay() : copy_self(copy_to);
  if (*ready) {
    struct stat found {};
    return ::stat((options.status_directory + "/" + kReady).c_str(), &found) == 0 ? EXIT_SUCCESS
                                                                                  : EXIT_FAILURE;
  }
  if (*inspecting) {
    options.work = NodeWork::kInspect;
    options.once = true;
  } else {
    options.work = *install ? NodeWork::kInstall : NodeWork::kUninstall;
  }
  return run_on_node(options);
}

}  // namespace transship::runtime
