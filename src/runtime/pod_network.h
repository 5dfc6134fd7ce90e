// PodNetwork: a pod's network while its memory is restored. Nothing goes out of any of its
// interfaces, loopback included, from before the first container's restore until all resume: CRIU
// has each connection say something when it is there, and the other end may not be yet. The address
// that the pod had at the source is on loopback meanwhile, so that connections from it can be
// restored; when the pod resumes these are ended, and the address goes. The mover holds a source's
// so, without an address, while its containers are dumped.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

// `network_namespace`: its path. `old_address`: IPv4 or IPv6; empty: none. Said again is fine. An
// interface with a queueing discipline of somebody's own is left to it, but for loopback: then an
// error.
Status hold_network(const std::string& network_namespace, const std::string& old_address);

// Undoes it: connections from the old address are ended (reset where the kernel can,
// INET_DIAG_DESTROY; otherwise kPreconditionFailed, after all else was done). Said again is fine.
Status release_network(const std::string& network_namespace, const std::string& old_address);

}  // namespace transship::runtime
