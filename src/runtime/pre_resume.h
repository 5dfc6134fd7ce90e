// Pre-resume: between two instructions of the restored processes. CRIU runs this program as its
// action script (criu(8), --action-script) when all of them are in place and none has run. The
// script may be in the control group that is to be frozen, so it does not freeze anything, but asks
// the process that started the restore, and lets CRIU go on when that has answered.
//
// Before that, at post-restore, where it still holds every process in its own code, the script asks
// whether the restore may go on at all: see permit.h.
//
// CRIU resumes the processes whatever the script's exit status at pre-resume is. So where nobody
// answers that they are frozen, because whoever should was killed, the script ends them all before
// it returns.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/permit.h"

namespace transship::runtime {

// The variables by which the script finds the socket, and by which main knows that it is the
// script; and the control group of whoever listens.
inline constexpr const char* kPreResumeSocket = "TRANSSHIP_PRE_RESUME_SOCKET";
inline constexpr const char* kPreResumeOutside = "TRANSSHIP_PRE_RESUME_OUTSIDE";

// The script's side, for every action of CRIU's: its exit status.
int run_action(const std::string& action, const std::string& socket, const std::string& outside);

class PreResume {
 public:
  // Listens at `socket`, in a directory that only root can enter. `outside`: Freezer::own_path().
  // `permit` was granted.
  static Result<PreResume> listen(const std::string& socket, std::string outside,
                                  const Permit& permit);

  // Where the control group's directory is written before it is frozen, for whoever finds it when
  // this process was killed.
  static std::string control_group_file(const std::string& socket) { return socket + ".cgroup"; }

  // The same, written by the script long before.
  static std::string early_control_group_file(const std::string& socket) {
    return socket + ".early-cgroup";
  }

  enum class Outcome {
    kFrozen,   // the script has asked, all in the container's control group are frozen, it knows
    kEnded,    // runc has ended without that
    kTooLate,  // neither by the deadline
  };
  // Waits for the script, or until `runc` (its pidfd) is readable. After an error the processes are
  // being ended.
  using TimePoint = std::chrono::steady_clock::time_point;
  [[nodiscard]] Result<Outcome> freeze_when_asked(int runc, TimePoint deadline) const;

  // For poll(2); 0 where it has passed.
  static int milliseconds_until(TimePoint deadline);

 private:
  PreResume(UniqueFd listener, std::string socket, std::string outside, Permit permit)
      : listener_(std::move(listener)),
        socket_(std::move(socket)),
        outside_(std::move(outside)),
        permit_(std::move(permit)) {}
  [[nodiscard]] Status let_go_on(int connection) const;
  [[nodiscard]] Status freeze_container_of(int connection) const;
  UniqueFd listener_;
  std::string socket_;
  std::string outside_;
  Permit permit_;
};

}  // namespace transship::runtime
