// Receiver: the tasks of the mover on the pod's new node. What each does to the node is said in
// api/mover_protocol.h; each may be started anew after any failure, also by a mover of a later
// epoch.
#pragma once

#include <map>

#include "api/mover_protocol.h"
#include "mover/destinations.h"
#include "mover/node.h"
#include "mover/placement.h"
#include "mover/restore_claim.h"
#include "mover/task_board.h"
#include "mover/volume_stream.h"

namespace transship::mover {

class Receiver {
 public:
  // `node` must outlive it, and it must outlive the tasks.
  Receiver(const Node& node, TransferConfig config);

  std::map<api::TaskKind, TaskFunction> tasks();

 private:
  Status inspect(const api::TaskRequest& request, const Deadline& deadline, TaskProgress& progress);
  Status receive(const api::TaskRequest& request, const Deadline& deadline, TaskProgress& progress);
  Status claim(const api::TaskRequest& request);
  Status place(const api::TaskRequest& request, const Deadline& deadline);
  Status cold_start(const api::TaskRequest& request);
  Status release(const api::TaskRequest& request, const Deadline& deadline);
  Result<Placement::Source> open_staged(const api::MoverVolume& volume);

  const Node& node_;
  const TransferConfig config_;
  Mutex changing_;  // held by the tasks that change records and staged volumes
  Destinations destinations_;
  Placement placement_;
  RestoreClaim claim_;
};

}  // namespace transship::mover
