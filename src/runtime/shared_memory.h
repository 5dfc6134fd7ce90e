// The pod's /dev/shm: a tmpfs of the sandbox that all its containers have mounted.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/bundle.h"

namespace transship::runtime {

// Copies what is in `staged` into it. kPreconditionFailed where the container has none of the pod's
// own (hostIPC: that would be the node's).
Status fill_shared_memory(const std::string& staged, const Bundle& bundle);

}  // namespace transship::runtime
