// The network of a source pod while its memory is dumped. CRIU locks none (memory_dump.cc says so
// to it: the rules that it sets stay behind where it fails or is killed, and the pod would go on
// without a network). Its containers are dumped one after the other, so what is under way between
// two of them could be in the images of neither, or of both: nothing goes out of any of the pod's
// interfaces from before the first until after the last. TCP sends it again.
#pragma once

#include <string>

#include "base/result.h"
#include "mover/node.h"
#include "mover/pod_cgroups.h"

namespace transship::mover {

// That of the pod's oldest process, its sandbox's. Neither of a pod that has the node's network,
// nor of one without processes: OK, and nothing is done. Said again is fine.
[[nodiscard]] Status hold_source_network(const Node& node, const PodCgroups& cgroups);

// Undoes it, whoever has held it, also a mover that was killed; ends no connection. Is tried some
// times before it is an error. OK where nothing was held.
[[nodiscard]] Status release_source_network(const Node& node, const PodCgroups& cgroups);

}  // namespace transship::mover
