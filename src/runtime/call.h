// Call: one call of this program by containerd's shim.
#pragma once

#include <string>
#include <vector>

#include "runtime/arguments.h"
#include "runtime/failure_log.h"
#include "runtime/runc.h"
#include "runtime/settings.h"

namespace transship::runtime {

struct Call {
  Call(Settings its_settings, std::vector<std::string> its_words)
      : settings(std::move(its_settings)),
        words(std::move(its_words)),
        arguments(parse_arguments(words)),
        runc(settings, arguments) {}

  Settings settings;
  std::vector<std::string> words;  // as they came
  Arguments arguments;
  Runc runc;

  // What a failed call ends with.
  [[nodiscard]] int fail(const std::string& message) const {
    write_log(arguments, "error", message);
    return 1;
  }
  // Returns only where runc cannot be run.
  [[nodiscard]] int pass_on() const { return fail(runc.become(words).message); }
};

// The whole program but its own commands: its exit status.
int run(const Call& call);

}  // namespace transship::runtime
