// Programs of the node, run to their end.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace transship::runtime {

struct CommandOutput {
  int status = 0;    // as a shell has it: 128 + the signal's number where one ended it
  std::string text;  // standard output and standard error as they came, at most 1 MiB
};

// The first executable file called `name` in the directories of `path` ("/a:/b"); `name` itself
// where it has a slash. kNotFound says where it was looked for.
Result<std::string> find_program(const std::string& name, const std::string& path);

// Runs `argv`, whose first word find_program() finds, with nothing in the environment but PATH, and
// nothing to read. A program that runs longer than `deadline` is killed with its children:
// kTimeout. The calling process must have one thread.
Result<CommandOutput> run_command(const std::vector<std::string>& argv, const std::string& path,
                                  std::chrono::milliseconds deadline);

// run_command, where another exit status than 0 is an error that has the end of what it said.
Result<std::string> output_of(const std::vector<std::string>& argv, const std::string& path,
                              std::chrono::milliseconds deadline);

}  // namespace transship::runtime
