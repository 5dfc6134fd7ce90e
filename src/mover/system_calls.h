// The filter of system calls (seccomp(2)) that a copier runs under.
#pragma once

#include "base/result.h"

namespace transship::mover {

// From now on the calling thread, and all that it starts, can make only the calls that copying
// trees over TLS takes: on files, sockets of IPv4 and IPv6, memory that is not executable, threads
// of its own. Every other call fails with EPERM. Sets no_new_privs. Nothing undoes it.
// kPreconditionFailed where the kernel has no such filters.
Status allow_only_copying();

}  // namespace transship::mover
