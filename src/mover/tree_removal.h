// Removing trees of data without ever leaving them: by descriptors, beneath a held directory, never
// through a symlink and never into a mount. Immutable and append-only entries go, too.
#pragma once

#include <string>

#include "base/result.h"
#include "mover/deadline.h"

namespace transship::mover {

// Removes all that `directory` (open for reading) holds; the directory stays. Where a mount point
// is met it stops with kPreconditionFailed: data of somebody else may lie behind it. What went
// before is gone.
Status empty_directory(int directory, const Deadline& deadline);

// Removes `name` and all below it from `parent`; none there is OK. As empty_directory otherwise.
Status remove_tree(int parent, const std::string& name, const Deadline& deadline);

// True where `directory` holds nothing, or nothing but the empty "lost+found" of a fresh ext file
// system.
Result<bool> is_fresh(int directory);

}  // namespace transship::mover
