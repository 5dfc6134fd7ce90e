// Freezer: the control group of one container, found by one of its processes, and stopping all that
// is in it (cgroup v1: freezer.state; v2: cgroup.freeze).
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace transship::runtime {

class Freezer {
 public:
  // That of the process `pid`. kPreconditionFailed where it is also ours, or above ours: to freeze
  // it would be to freeze ourselves.
  static Result<Freezer> of(pid_t pid);

  // Moves those of its processes that are in our own mount namespace (CRIU's, not the container's)
  // into our control group.
  [[nodiscard]] Status let_out_ours() const;

  // Returns once all in it are frozen; kTimeout after ten seconds, and then they are thawed.
  [[nodiscard]] Status freeze() const;

  [[nodiscard]] const std::string& directory() const { return directory_; }

  // Has all that is in the control group at `directory` end: killed, then thawed, so that not one
  // instruction is run. One that is gone is OK.
  static void end(const std::string& directory);

 private:
  bool v2_ = false;
  std::string directory_;
  std::string own_;
};

}  // namespace transship::runtime
