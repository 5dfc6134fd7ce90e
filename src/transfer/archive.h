// A volume's stream as a file VOLUME.tar, for migrations through an archive claim.
#pragma once

#include <string>

#include "transfer/tree.h"

namespace transship::transfer {

// Writes the tree `from` as `volume`.tar in `archive`: under a temporary name, synced, renamed over
// an earlier one, and the directory synced. kInvalid where the name is no plain file name.
Result<Summary> write_archive(int archive, const std::string& volume, int from,
                              const SendOptions& options = {});

// receive_tree from that file. kNotFound where it is not there; kCorrupt, too, where bytes follow
// the stream's end.
Result<Received> read_archive(int archive, const std::string& volume, int to,
                              const ReceiveOptions& options = {});

}  // namespace transship::transfer
