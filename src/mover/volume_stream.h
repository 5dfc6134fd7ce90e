// A mover's use of its copiers beside a sender's live session: the receiver's end of it, and
// archive files, with their progress in the task's reports. Volumes' directories are views
// (mount_view.h).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "mover/task_board.h"
#include "mover/transfer_config.h"

namespace transship::mover {

// Counts what the volume holds: bytes and entries of the report.
Result<api::VolumeReport> scan_volume(const std::string& name, int view, const Deadline& deadline);

// Writes all volumes as archive files. Reports get sizes, progress and digests.
Status archive_volumes(const TransferConfig& config, const api::TaskRequest& request,
                       std::vector<OpenVolume> volumes, const Deadline& deadline,
                       TaskProgress& progress);

// Takes exactly one session with exactly these volumes into their directories, keeping
// of what they hold what the sender has, too; or reads the archive files into empty ones. Syncs and
// reads back. Where the connection breaks, the same sender has two
// minutes for another one. Reports get sizes, progress, digests and verified
// digests.
Status receive_volumes(const TransferConfig& config, const api::TaskRequest& request,
                       const std::vector<OpenVolume>& volumes, const Deadline& deadline,
                       TaskProgress& progress);

}  // namespace transship::mover
