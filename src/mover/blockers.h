// Blockers: what CRIU cannot dump of a pod's containers, found before anything is touched, each
// with what to do about it. Read from /proc (proc(5)); what comes up later, the dump itself says.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace transship::mover {

struct InspectedContainer {
  std::string name;
  int init = 0;           // its first process
  std::vector<int> pids;  // all of them
};

// One thing in the way, e.g. "container app: process 12 (node) uses io_uring: …".
using Blockers = std::vector<std::string>;

// Each looks at one kind; `proc` is a directory as "/proc". Processes that end meanwhile are
// nothing.
Blockers stopped_processes(const std::string& proc, const InspectedContainer& container);
Blockers foreign_user_namespaces(const std::string& proc, const InspectedContainer& container);
Blockers io_uring(const std::string& proc, const InspectedContainer& container);
Blockers sockets_of_other_kinds(const std::string& proc, const InspectedContainer& container);
Blockers devices(const std::string& proc, const InspectedContainer& container);
Blockers deleted_files(const std::string& proc, const InspectedContainer& container);
Blockers configuration_files(const std::string& proc, const InspectedContainer& container);
Blockers listeners_on_own_address(const std::string& proc, const InspectedContainer& container);
// Of the pod: any of its containers sees them.
Blockers message_queues(const std::string& proc, const InspectedContainer& container);
// Streams between two of the containers, or from one to a process that is in none.
Result<Blockers> unix_streams(const std::string& proc,
                              const std::vector<InspectedContainer>& containers);

// kPreconditionFailed with all of them.
Status check_blockers(const std::string& proc, const std::vector<InspectedContainer>& containers);

}  // namespace transship::mover
