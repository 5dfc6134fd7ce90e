// Freezer: the control group of one container, found by one of its processes, and stopping all that
// is in it (cgroup v1: freezer.state; v2: cgroup.freeze).
#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <string>

#include "base/result.h"

namespace transship::runtime {

class Freezer {
 public:
  // Our own control group's path in the hierarchy that has the freezer.
  static Result<std::string> own_path();

  // That of a process ("self", or its number). kPreconditionFailed where `outside`, a path of
  // own_path(), is in it: to freeze or end it would be to do that to whoever is outside.
  static Result<Freezer> of(const std::string& process, const std::string& outside);

  // Moves those of its processes that are in our own mount namespace (CRIU's, not the container's)
  // into the control group `outside`.
  [[nodiscard]] Status let_out_ours() const;

  // Returns once all in it are frozen; kTimeout after ten seconds, and then they are thawed.
  [[nodiscard]] Status freeze() const;

  [[nodiscard]] const std::string& directory() const { return directory_; }

  // Has all that is in the control group at `directory`, and below it, end, but those spared:
  // killed, then thawed, so that not one instruction is run. A control group that is gone is OK.
  static void end(const std::string& directory, std::initializer_list<pid_t> spared = {});

 private:
  bool v2_ = false;
  std::string directory_;
  std::string outside_;
};

}  // namespace transship::runtime
