// MemoryTrees: what of a pod's memory is on this node while it moves: a container's images, the
// content of /dev/shm. Directories on a tmpfs of the migration's own (mode 0700), so that no secret
// gets to a disk; mounted at transship/<migration>/memory below the kubelet root, where the node
// sees it, too. It outlives the mover, and a reboot takes it away. One thread at a time.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "mover/node.h"

namespace transship::mover {

class MemoryTrees {
 public:
  // `node` must outlive it.
  MemoryTrees(const Node& node, std::string migration_uid);

  // The directory `name`, made where it is missing; the tmpfs is mounted for the first one. It may
  // take what memory the node has available at that moment, but for a tenth.
  [[nodiscard]] Result<UniqueFd> open(const std::string& name) const;
  // Empty.
  [[nodiscard]] Result<UniqueFd> renew(const std::string& name, const Deadline& deadline) const;
  // None there is OK.
  [[nodiscard]] Status remove(const std::string& name, const Deadline& deadline) const;

  // Where the node sees it.
  [[nodiscard]] std::string path(const std::string& name) const;

  // Takes the tmpfs away with all that it holds. Idempotent.
  [[nodiscard]] Status release() const;

 private:
  [[nodiscard]] std::string point() const;  // relative to the kubelet root
  [[nodiscard]] Result<bool> is_mounted() const;
  [[nodiscard]] Result<UniqueFd> open_mount() const;

  const Node& node_;
  std::string migration_uid_;
};

// Bytes that the node could give to a new application without swapping (proc_meminfo(5)).
Result<int64_t> available_memory();

}  // namespace transship::mover
