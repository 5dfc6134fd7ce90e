// Reading an entry's metadata from disk, beyond what stat says.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "transfer/entry.h"
#include "transfer/tree_walk.h"

namespace transship::transfer {

// A regular file of the tree, open for reading and still the one that was found. kConflict where it
// vanished or changed since.
Result<UniqueFd> open_walked_file(const WalkedEntry& walked);

// kConflict where the open file is not as it was found.
Status check_unchanged(const WalkedEntry& walked, int file);

// The whole entry, with its project id if `projects`; `file` is the open regular file, -1 for all
// others.
Result<Entry> read_entry(const WalkedEntry& walked, int file, bool projects);

}  // namespace transship::transfer
