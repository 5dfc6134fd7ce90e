// Capabilities (capabilities(7)): which a process may keep, and giving up all others for good.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace transship::mover {

// A set of capabilities: bit N is the capability of number N.
using CapabilitySet = uint64_t;

// What reading trees takes: all files, without touching access times; trusted.* attributes, which
// the kernel shows to CAP_SYS_ADMIN alone.
CapabilitySet reading_capabilities();
// What writing them takes: also owners, modes, devices, security.capability, flags and project ids.
CapabilitySet writing_capabilities();
// What the rest of a mover takes: mounts, the node's processes and their control groups.
CapabilitySet node_capabilities();

// Gives up, for the calling thread and all that come from it, every capability but `kept`: the
// bounding set, the inheritable and ambient ones, too. With `locked`, running a program as root
// does not bring any back. What it does not have stays away.
Status keep_capabilities(CapabilitySet kept, bool locked);

}  // namespace transship::mover
