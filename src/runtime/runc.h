// Runc: how the runtime that does the work is called. Its descriptors 0 to 2 are the container's
// own, so nothing here writes to them or changes them.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/arguments.h"
#include "runtime/settings.h"

namespace transship::runtime {

class Runc {
 public:
  Runc(const Settings& settings, const Arguments& arguments);

  // Becomes runc, with these very words. Returns only where that fails.
  [[nodiscard]] Error become(const std::vector<std::string>& words) const;

  struct Child {
    pid_t pid = -1;
    UniqueFd handle;  // readable once it has ended
  };
  // It goes on when this process dies. `environment`: "NAME=value" that it gets besides ours.
  [[nodiscard]] Result<Child> begin(const std::vector<std::string>& words,
                                    const std::vector<std::string>& environment = {}) const;
  // What it ended with; 128 + its number for a signal.
  static int wait(const Child& child);

  // Runs to its end; killed when this process dies.
  [[nodiscard]] Result<int> run(const std::vector<std::string>& words) const;

  // The same with the global options of our own command line before `words`, and with descriptors
  // 0 to 2 at /dev/null: for what is no container's start.
  [[nodiscard]] Result<int> run_aside(const std::vector<std::string>& words) const;
  [[nodiscard]] std::vector<std::string> with_globals(std::vector<std::string> words) const;

 private:
  enum class Manner { kOutlives, kDiesWithUs, kAside };
  Result<Child> fork_child(const std::vector<std::string>& words,
                           const std::vector<std::string>& environment, Manner manner) const;
  std::string program_;
  std::string path_;  // PATH= for it
  std::vector<std::string> global_;
};

}  // namespace transship::runtime
