// What a destination holds already, from an earlier session or by anybody's hand: taken as a fact,
// and read from the disk, so that a further session sends only the rest.
#pragma once

#include "transfer/inventory.h"
#include "transfer/tree.h"

namespace transship::transfer {

// Fills the new `inventory` with everything beneath `root`: metadata, digests, of files beyond
// kSmallFile or with holes the blocks, too (BlockMap, for a volume of `volume_bytes`). Syncs first,
// and reads past the page cache, where the file system can. What is the same by inode number and
// change time in `known` and was read back there is not read again (and gets no blocks); it may be
// null. A file that has names outside of the tree, too, loses those in it: to write to it would
// change what is not the tree's. kConflict: somebody else is at work in it; kInvalid: a mount point
// inside; kPreconditionFailed: more entries or bytes than the limits allow.
Status take_held_tree(int root, int64_t volume_bytes, const Inventory* known,
                      const ReceiveOptions& options, Inventory& inventory);

}  // namespace transship::transfer
