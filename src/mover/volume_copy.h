// Copying a volume within one node, where renaming cannot do it: into a tmpfs.
#pragma once

#include <string>

#include "base/result.h"
#include "mover/deadline.h"

namespace transship::mover {

// Copies all of the directory `from` into the empty directory `to`, their own metadata included but
// for project ids, and reads the copy back. kCorrupt where its digest is not `digest`, or, where
// that is empty, not the one of what was read.
Status copy_volume(int from, int to, const std::string& digest, const Deadline& deadline);

}  // namespace transship::mover
