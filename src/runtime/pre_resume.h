// Pre-resume: between two instructions of the restored processes. CRIU runs this program as its
// action script (criu(8), --action-script) when all of them are in place and none has run. The
// script may be in the control group that is to be frozen, so it does not freeze anything, but asks
// the process that started the restore, and lets CRIU go on when that has answered.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::runtime {

// The name of the variable by which the script finds the socket, and by which main knows that it is
// the script.
inline constexpr const char* kPreResumeSocket = "TRANSSHIP_PRE_RESUME_SOCKET";

// The script's side, for every action of CRIU's: its exit status. Anything but 0 has CRIU give up
// and kill what it has restored.
int run_action(const std::string& action, const std::string& socket);

class PreResume {
 public:
  // Listens at `socket`, in a directory that only root can enter.
  static Result<PreResume> listen(const std::string& socket);

  // Where the control group's directory is written before it is frozen, for whoever finds it when
  // this process was killed.
  static std::string control_group_file(const std::string& socket) { return socket + ".cgroup"; }

  // Waits until `other` is readable (runc has ended: false), or the script has asked and all in the
  // container's control group are frozen (true: the script was told so). An error was told, too.
  [[nodiscard]] Result<bool> freeze_when_asked(int other) const;

 private:
  PreResume(UniqueFd listener, std::string socket)
      : listener_(std::move(listener)), socket_(std::move(socket)) {}
  UniqueFd listener_;
  std::string socket_;
};

}  // namespace transship::runtime
