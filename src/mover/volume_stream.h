// A mover's use of the transfer engine: the volumes of one task over one session (or archive
// files), with its progress in the task's reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "mover/task_board.h"
#include "transfer/tree.h"

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

// A volume and its held directory.
struct OpenVolume {
  std::string name;
  UniqueFd directory;
  // Sending: about what it holds, for progress, where that is known; else it is counted first.
  std::optional<transfer::TreeTotals> totals{};
};

// Counts what `directory` holds: bytes and entries of the report.
Result<api::VolumeReport> scan_volume(const std::string& name, int directory,
                                      const Deadline& deadline);

// Sends all volumes to the request's peer, which may still be about to listen (tried for 30 s), or
// writes them as archive files. Reports get sizes, progress and digests.
Status send_volumes(const TransferConfig& config, const api::TaskRequest& request,
                    const std::vector<OpenVolume>& volumes, const Deadline& deadline,
                    TaskProgress& progress);

// Takes exactly one session with exactly these volumes (or reads the archive files) into their
// empty directories, syncs and reads back. Reports get sizes, progress, digests and verified
// digests.
Status receive_volumes(const TransferConfig& config, const api::TaskRequest& request,
                       const std::vector<OpenVolume>& volumes, const Deadline& deadline,
                       TaskProgress& progress);

}  // namespace transship::mover
