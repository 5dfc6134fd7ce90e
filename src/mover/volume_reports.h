// The reports of the volumes that a task sends or receives: live from the engine's counters, and
// what they came to in the end.
#pragma once

#include <string>

#include "mover/copier.h"
#include "mover/task_board.h"
#include "mover/transfer_config.h"
#include "transfer/tree.h"

namespace transship::mover {

// Has the copier count what the volume holds, where that is not known.
Status count(Copier& copier, OpenVolume& volume, const Deadline& deadline);
// From now on the report shows the counters; of the volume's totals at most, however often it was
// read.
void follow_sending(TaskProgress& progress, const OpenVolume& volume, const Counters& counters);
void follow_receiving(TaskProgress& progress, const std::string& name, const Counters& counters);

// A volume that is over: `verified` is null for a sender.
void report_done(TaskProgress& progress, const std::string& name, const transfer::Summary& sent,
                 const transfer::Summary* verified);

}  // namespace transship::mover
