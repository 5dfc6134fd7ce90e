// What a mover's transfers begin with: who the two ends are, and the volumes that are open.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "api/mover_protocol.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "transfer/tree.h"
#include "transfer/until.h"

namespace transship::mover {

// What both ends of a session know from their command lines.
struct TransferConfig {
  std::string migration_uid;
  int epoch = 0;
  std::string tls_directory;
  std::string archive_root;  // empty: no archive claim is mounted
  std::string listen_address;
  uint16_t data_port = api::kDataPort;
};

transfer::Until until_of(const Deadline& deadline);

// A volume and its directory, as a copier is to see it.
struct OpenVolume {
  std::string name;
  UniqueFd directory;
  // Sending: about what it holds, for progress, where that is known; else it is counted first.
  std::optional<transfer::TreeTotals> totals{};
  // Project ids go along: not those of emptyDirs, which are the node's.
  bool projects = true;
};

}  // namespace transship::mover
