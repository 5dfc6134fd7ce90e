// The peers of connected unix sockets in a process's network namespace (unix_diag, sock_diag(7)).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"

namespace transship::mover {

// By socket inode, stream and seqpacket sockets alone: the inode of the other end. `process` is a
// directory as "/proc/12". From any thread: it looks from one of its own.
Result<std::map<uint64_t, uint64_t>> unix_peers(const std::string& process);

}  // namespace transship::mover
