// RestoreEnd: ending a restore in the middle of it, so that nothing of it goes on: CRIU, runc, and
// what they have restored so far.
#pragma once

#include <sys/types.h>

#include <string>

#include "runtime/settings.h"

namespace transship::runtime {

// In the scratch directory of a restore: the number of its runc.
inline constexpr const char* kRuncFile = "runc.pid";
inline constexpr const char* kPreResumeFile = "pre-resume";  // the socket

// Ends the restore of a `runc restore` that runs: first what it restores is frozen and killed, CRIU
// with it, so that none of it goes on when CRIU is gone. `handle`: runc's pidfd. `outside`:
// Freezer::own_path(). Returns once runc has ended (readable handle), at the latest by SIGKILL.
void end_restore(pid_t runc, int handle, const std::string& outside);

// Ends what is in the control groups that are noted in that scratch directory, frozen or not.
void end_noted(const std::string& scratch);

// Ends what a restore of that ID has left whose process was killed: CRIU and runc, and processes
// that are frozen in a control group which runc does not know. None is fine.
void discard_restore(const Settings& settings, const std::string& id);

}  // namespace transship::runtime
