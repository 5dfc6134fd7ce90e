// Sender: the tasks of the mover on the pod's old node. What each does to the node is said in
// api/mover_protocol.h; each may be started anew after any failure.
#pragma once

#include <map>

#include "api/mover_protocol.h"
#include "mover/node.h"
#include "mover/pin.h"
#include "mover/placement.h"
#include "mover/task_board.h"
#include "mover/volume_stream.h"

namespace transship::mover {

class Sender {
 public:
  // `node` must outlive it, and it must outlive the tasks.
  Sender(const Node& node, TransferConfig config);

  std::map<api::TaskKind, TaskFunction> tasks();

 private:
  Status inspect(const api::TaskRequest& request, const Deadline& deadline, TaskProgress& progress);
  Status freeze(const api::TaskRequest& request, const Deadline& deadline);
  Status thaw(const api::TaskRequest& request);
  Status pin(const api::TaskRequest& request);
  Status keep(const api::TaskRequest& request);
  Status kill(const api::TaskRequest& request, const Deadline& deadline);
  Status send(const api::TaskRequest& request, const Deadline& deadline, TaskProgress& progress);
  Status place(const api::TaskRequest& request, const Deadline& deadline);
  Status release(const api::TaskRequest& request, const Deadline& deadline);

  // The volume's content: an emptyDir through its pin where it has one.
  Result<UniqueFd> open_volume(const std::string& pod_uid, const api::MoverVolume& volume);
  Result<Placement::Source> open_pinned(const std::string& pod_uid, const api::MoverVolume& volume);

  const Node& node_;
  const TransferConfig config_;
  Mutex changing_;  // held by the tasks that change mounts and records
  Pins pins_;
  Placement placement_;
  Mutex inspecting_;
  std::map<std::string, transfer::TreeTotals> inspected_ GUARDED_BY(inspecting_);  // by volume
};

}  // namespace transship::mover
