// PodContainers: what the containers of a pod have on this node beside volumes: their processes,
// their layers, the /dev/shm that they share. Found by the pod's cgroups and by /proc; read only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/mover_task.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/node.h"
#include "mover/pod_cgroups.h"

namespace transship::mover {

// The one of these processes that was started first; kNotFound where none of them is there any
// more. `proc` is a directory as "/proc" (proc(5)).
Result<int> first_process(const std::string& proc, const std::vector<int>& pids);

// About how many bytes of memory these processes have that is on no disk: a dump writes about that
// much. Pages that several of them share count for each.
int64_t resident_memory(const std::string& proc, const std::vector<int>& pids);

class PodContainers {
 public:
  // kNotFound where the pod has no cgroup. `node` must outlive it.
  static Result<PodContainers> find(const Node& node, const std::string& pod_uid);

  // kNotFound where the container has no process: it has ended, or was started anew with another
  // id.
  [[nodiscard]] Result<std::vector<int>> processes(const api::MoverContainer& container) const;
  // The one that the runtime started.
  [[nodiscard]] Result<int> init_process(const api::MoverContainer& container) const;

  // The upper directory of the overlay mount that is the container's root. kPreconditionFailed
  // where its root is none.
  [[nodiscard]] Result<UniqueFd> open_layer(const api::MoverContainer& container) const;

  // The tmpfs at /dev/shm that containerd has made for the pod. kPreconditionFailed where it is
  // the node's own.
  [[nodiscard]] Result<UniqueFd> open_shared_memory() const;
  // As a copier is to see it (mount_view.h).
  [[nodiscard]] Result<UniqueFd> view_shared_memory() const;

 private:
  // The directory in /proc of the pod's first process, which is the sandbox's.
  [[nodiscard]] Result<std::string> sandbox() const;
  PodContainers(const Node& node, PodCgroups cgroups) : node_(node), cgroups_(std::move(cgroups)) {}

  const Node& node_;
  PodCgroups cgroups_;
};

}  // namespace transship::mover
