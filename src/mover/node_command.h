// Programs of the node's (runc, criu), run from the mover's container in the node's mount
// namespace, as the node's own would: found in the node's directories, with the mover's
// capabilities.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "mover/deadline.h"
#include "mover/node.h"

namespace transship::mover {

struct NodeCommand {
  std::vector<std::string> words;        // the first is looked for in kNodePath
  std::vector<std::string> environment;  // "NAME=value", all but PATH
};

inline constexpr const char* kNodePath =
    "/opt/transship/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct CommandEnd {
  int status = 0;      // of exit(3), or 128 and the signal
  std::string output;  // the end of what it wrote to its standard output and error
};

// Runs it to its end. At the deadline it is killed with all that it has started (what has its mark,
// see below), and the error is the deadline's. kNotFound: the node has no such program. From any
// thread.
Result<CommandEnd> run_on_node(const Node& node, const NodeCommand& command,
                               const std::string& mark, const Deadline& deadline);

// Kills what a command with this mark has left, also one of a mover that was killed, and waits for
// its end: whatever has it in its environment.
Status kill_commands(const Node& node, const std::string& mark, const Deadline& deadline);

}  // namespace transship::mover
