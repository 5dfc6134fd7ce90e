// Whether this node can dump and restore memory: runc, CRIU, the kernel, the mover's capabilities.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "mover/deadline.h"
#include "mover/node.h"

namespace transship::mover {

// What is in the way, with a remedy; OK where nothing is. `criu` is what `criu --version` says,
// `kernel` what uname(2) does. CRIU before 4.2 fails on kernels from 6.16 on for every socket.
Status check_criu(std::string_view criu, std::string_view kernel);

// `effective` as in CapEff of /proc/self/status. Without CAP_SYS_RESOURCE there is only a warning:
// CRIU then fails for processes of other users, unless the node has a way round.
Status check_capabilities(uint64_t effective);

// All of it, of this node. kPreconditionFailed names what is missing.
Status check_checkpoint_tools(const Node& node, const Deadline& deadline);

}  // namespace transship::mover
