// transship-runtime: what containerd runs in place of runc, with the same arguments.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/bundle.h"
#include "runtime/call.h"
#include "runtime/install/install_command.h"
#include "runtime/pre_resume.h"

namespace {

using namespace transship;
using namespace transship::runtime;

constexpr const char* kHelp =
    "transship-runtime " TRANSSHIP_VERSION
    R"(: runc, which restores the containers that Transship has moved here.

usage: transship-runtime RUNC-ARGUMENTS...   as containerd's BinaryName; see docs/restore.md
       transship-runtime install|uninstall   on a node; each has --help
       transship-runtime inspect|self-test   on a node: whether it can dump and restore a process
       transship-runtime stay                do nothing until SIGTERM
       transship-runtime help                this text; --help and --version are runc's

A container whose pod has a claim in /var/lib/transship/claims is restored at `create`; everything
else is runc's, with the very same arguments.

/etc/transship/runtime.json, if it is there:  {"runc": PROGRAM, "criu": PATH,
"restoreSeconds": NUMBER}
)";

}  // namespace

int main(int argc, char** argv) {
  // The process of an init container that has done its work.
  if (argc > 0 && std::string_view(argv[0]) == kNothing) return EXIT_SUCCESS;

  const char* action = std::getenv("CRTOOLS_SCRIPT_ACTION");
  const char* socket = std::getenv(kPreResumeSocket);
  const char* outside = std::getenv(kPreResumeOutside);
  if (action != nullptr && socket != nullptr && outside != nullptr) {
    return run_action(action, socket, outside);
  }

  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (words.size() == 1 && words.front() == "help") {
    std::fputs(kHelp, stdout);
    return EXIT_SUCCESS;
  }
  if (!words.empty() && is_install_command(words.front())) return run_install_command(argc, argv);
  auto settings = read_settings();
  if (!settings) {
    write_log(parse_arguments(words), "error", settings.error().message);
    return EXIT_FAILURE;
  }
  return run(Call(std::move(*settings), words));
}
