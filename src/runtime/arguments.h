// Arguments: the command line that containerd's shim gives to runc, as far as it says what is done
// to which container. It is read as runc reads it (runc(8); flags of Go's flag package), but never
// rewritten: what is passed on is what came.
#pragma once

#include <string>
#include <vector>

namespace transship::runtime {

struct Arguments {
  // Those before the command, with their values: they go along with each call of runc.
  std::vector<std::string> global;
  std::string root;  // --root; empty: runc's own default
  std::string log;   // --log; empty: none
  bool json_log = false;

  std::string command;  // "create", ...; empty: there is none, or what comes before it is unknown
  std::string bundle;   // create; "." where nothing else is said
  std::string console_socket;
  std::string pid_file;
  bool no_pivot = false;
  std::vector<std::string> operands;  // the container's ID, kill's signal
  // An option of the command that is not known here: what comes after it may be its value, so
  // nothing is to be concluded from the operands.
  std::string unknown;

  [[nodiscard]] std::string id() const { return operands.empty() ? "" : operands.front(); }
};

// `words` without the program's own name. Never fails: what is not understood is runc's to judge.
Arguments parse_arguments(const std::vector<std::string>& words);

}  // namespace transship::runtime
