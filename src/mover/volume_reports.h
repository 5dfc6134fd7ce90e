// The reports of the volumes that a task sends or receives: live from the engine's counters, and
// what they came to in the end.
#pragma once

#include <memory>
#include <string>

#include "mover/task_board.h"
#include "mover/transfer_config.h"
#include "transfer/tree.h"

namespace transship::mover {

// The engine's counters of one volume.
using Counters = std::shared_ptr<transfer::Progress>;

// Counts what the volume holds, where that is not known; then as follow_sending.
Result<Counters> begin_sending(TaskProgress& progress, OpenVolume& volume,
                               const Deadline& deadline);
// From now on the report shows the counters; of the volume's totals at most, however often it was
// read.
void follow_sending(TaskProgress& progress, const OpenVolume& volume, const Counters& counters);
Counters follow_receiving(TaskProgress& progress, const std::string& name);

// A volume that is over: `verified` is null for a sender.
void report_done(TaskProgress& progress, const std::string& name, const transfer::Summary& sent,
                 const transfer::Summary* verified);

}  // namespace transship::mover
