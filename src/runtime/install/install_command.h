// `transship-runtime inspect`, `install`, `uninstall` and `ready`, what the DaemonSet's containers
// run; `self-test`, for people on a node; and `stay`, which a pod runs in images of others.
#pragma once

#include <string_view>

namespace transship::runtime {

// Whether the first argument of the program is one of them (runc has none of these names).
bool is_install_command(std::string_view argument);

// Runs it; the program's exit status. install and uninstall go over to the node (setns(2): they
// need hostPID, privileges and a process of one thread), say on standard error what they do, and
// stay until SIGTERM once it is done, so that a DaemonSet's pod may run them. ready succeeds where
// they have got so far in the same pod. stay needs nothing of the image that it runs in.
int run_install_command(int argc, char** argv);

}  // namespace transship::runtime
