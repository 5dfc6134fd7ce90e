// TrialDump: whether the memory of a pod's containers can be dumped, and how long that takes: they
// are frozen and dumped as for a move, go on, and what was written is thrown away.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "api/mover_task.h"
#include "base/result.h"
#include "mover/deadline.h"
#include "mover/memory_dump.h"
#include "mover/memory_trees.h"
#include "mover/pod_freeze.h"

namespace transship::mover {

struct TrialTimes {
  std::chrono::milliseconds frozen{0};    // from before the freeze until the pod went on
  std::chrono::milliseconds dump{0};      // of that
  std::map<std::string, int64_t> images;  // bytes, by the tree's name
};

class TrialDump {
 public:
  // All must outlive it.
  TrialDump(const MemoryDump& dump, const MemoryTrees& trees, PodFreeze& freeze)
      : dump_(dump), trees_(trees), freeze_(freeze) {}

  // Of each container with `memory`. The pod goes on, whatever comes of it, at the latest when the
  // request's budget is over; no images are left.
  [[nodiscard]] Result<TrialTimes> run(const api::TaskRequest& request,
                                       const Deadline& deadline) const;

 private:
  [[nodiscard]] Status discard(const api::TaskRequest& request, TrialTimes& times,
                               const Deadline& deadline) const;

  const MemoryDump& dump_;
  const MemoryTrees& trees_;
  PodFreeze& freeze_;
};

}  // namespace transship::mover
