// DirectoryHandles: open descriptors of an inventory's directories, the ones used last; others are
// opened anew from the nearest that is open, name by name, never through a link or a mount point.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "base/unique_fd.h"
#include "transfer/inventory.h"

namespace transship::transfer {

using DirectoryHandle = std::shared_ptr<const UniqueFd>;

// Not for several threads at once.
class DirectoryHandles {
 public:
  // `root` and `inventory` must outlive it; `root` may be O_PATH.
  DirectoryHandles(int root, const Inventory& inventory) : root_(root), inventory_(inventory) {}

  // Of a directory as the inventory says where it is. kNotFound: it is not there.
  Result<DirectoryHandle> open(NodeId directory);

  // It is gone, or another directory has its place now.
  void forget(NodeId directory);
  void clear();

 private:
  static constexpr size_t kHeld = 128;
  struct Held {
    DirectoryHandle handle;
    std::list<NodeId>::iterator use;
  };

  void hold(NodeId directory, const DirectoryHandle& handle);

  int root_;
  const Inventory& inventory_;
  std::unordered_map<NodeId, Held> held_;
  std::list<NodeId> uses_;  // the latest first
};

}  // namespace transship::transfer
