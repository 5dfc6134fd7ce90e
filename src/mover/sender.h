// Sender: the tasks of the mover on the pod's old node. What each does to the node is said in
// api/mover_protocol.h; each may be started anew after any failure.
#pragma once

#include <map>

#include "api/mover_protocol.h"
#include "mover/live_session.h"
#include "mover/memory_dump.h"
#include "mover/memory_trees.h"
#include "mover/node.h"
#include "mover/pin.h"
#include "mover/placement.h"
#include "mover/pod_freeze.h"
#include "mover/task_board.h"

namespace transship::mover {

class Sender {
 public:
  // `node` must outlive it, and it must outlive the tasks.
  Sender(const Node& node, TransferConfig config);

  std::map<api::TaskKind, TaskFunction> tasks();

  // Once the tasks have ended: a pod that is frozen, and not sealed, goes on.
  void end() { freeze_.end(); }

 private:
  Status inspect(const api::TaskRequest& request, const Deadline& deadline, TaskProgress& progress);
  Status inspect_memory(const api::TaskRequest& request, const Deadline& deadline,
                        TaskProgress& progress);
  Status freeze(const api::TaskRequest& request, const Deadline& deadline);
  Status seal(const api::TaskRequest& request);
  Status thaw(const api::TaskRequest& request);
  Status pin(const api::TaskRequest& request);
  Status keep(const api::TaskRequest& request);
  Status kill(const api::TaskRequest& request, const Deadline& deadline);
  Status dump(const api::TaskRequest& request, const Deadline& deadline);
  Status trial_dump(const api::TaskRequest& request, const Deadline& deadline,
                    TaskProgress& progress);
  Status pre_copy(const api::TaskRequest& request, const Deadline& deadline,
                  TaskProgress& progress);
  Status send(const api::TaskRequest& request, const Deadline& deadline, TaskProgress& progress);
  Status place(const api::TaskRequest& request, const Deadline& deadline);
  Status release(const api::TaskRequest& request, const Deadline& deadline);

  Result<std::vector<OpenVolume>> open_volumes(const api::TaskRequest& request);
  // With what an earlier task began, if it did; afterwards `live_` is there.
  Status begin_session(const api::TaskRequest& request, const Deadline& deadline,
                       TaskProgress& progress) REQUIRES(sending_);
  // As a copier is to see it.
  Result<UniqueFd> view_tree(const api::TaskRequest& request, const api::MoverVolume& tree);
  // The volume's content: an emptyDir through its pin where it has one.
  Result<UniqueFd> open_volume(const std::string& pod_uid, const api::MoverVolume& volume);
  // Of that or any other tree but the pod's /dev/shm.
  Result<UniqueFd> open_tree_of(const api::TaskRequest& request, const api::MoverVolume& tree);
  Status check_same_containers(const api::TaskRequest& request) const REQUIRES(sending_);
  Result<Placement::Source> open_pinned(const std::string& pod_uid, const api::MoverVolume& volume);

  const Node& node_;
  const TransferConfig config_;
  Mutex changing_;  // held by the tasks that change mounts and records
  Pins pins_;
  Placement placement_;
  MemoryTrees memory_;
  MemoryDump dump_;
  PodFreeze freeze_;
  Mutex sending_;
  std::unique_ptr<LiveSession> live_ GUARDED_BY(sending_);
  std::map<std::string, std::string> sent_containers_ GUARDED_BY(sending_);  // their ids
  Mutex inspecting_;
  std::map<std::string, transfer::TreeTotals> inspected_ GUARDED_BY(inspecting_);  // by volume
};

}  // namespace transship::mover
