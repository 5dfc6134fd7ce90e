// MemoryDump: writes the memory of a frozen pod's containers into the migration's tmpfs, by the
// node's runc and CRIU.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/mover_task.h"
#include "base/result.h"
#include "mover/deadline.h"
#include "mover/memory_trees.h"
#include "mover/node.h"
#include "mover/pod_cgroups.h"

namespace transship::mover {

class MemoryDump {
 public:
  // All must outlive it.
  MemoryDump(const Node& node, const std::string& migration_uid, const MemoryTrees& trees)
      : node_(node), mark_("dump." + migration_uid), trees_(trees) {}

  // Of each container with `memory`, into the tree "memory.CONTAINER", anew. The pod must be frozen
  // (kPreconditionFailed) and is afterwards, also after an error; none of its processes runs
  // meanwhile. After an error there are no images.
  [[nodiscard]] Status run(const std::string& pod_uid,
                           const std::vector<api::MoverContainer>& containers,
                           const Deadline& deadline) const;

 private:
  [[nodiscard]] Status dump_all(const std::vector<api::MoverContainer>& containers,
                                const Deadline& deadline) const;
  [[nodiscard]] Status dump(const api::MoverContainer& container, const Deadline& deadline) const;
  [[nodiscard]] Status empty(const std::vector<api::MoverContainer>& containers,
                             const Deadline& deadline) const;

  const Node& node_;
  std::string mark_;
  const MemoryTrees& trees_;
};

// What of CRIU's log says why it failed: the last errors, but those that say only that it did, or
// that mean nothing. Empty where there is none.
std::string telling_lines(std::string_view log);

}  // namespace transship::mover
