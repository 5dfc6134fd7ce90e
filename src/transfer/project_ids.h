// ProjectIds: which project ids of a volume go along, and as what. A target whose root has an id of
// its own has it from whoever counts the volume's blocks by it (a provisioner's quota): there it
// takes the place of the source root's, and directories hand it down.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "transfer/inode_attributes.h"

namespace transship::transfer {

struct ProjectIds {
  bool carried = true;
  uint32_t source = 0;  // the source root's
  uint32_t target = 0;  // the target root's own; 0: it has none, and all ids are as at the source

  // Of an inode as the source has it, at its place there or at the target: as the target is to have
  // it. Links, FIFOs, devices and sockets without an id stay so: not every kernel could give one.
  void translate(const AttributePlace& place, InodeAttributes& found) const {
    if (!carried || target == 0 || target == source || found.project != source) return;
    if (!place.name.empty() && source == 0) return;
    found.project = target;
    if (place.directory) found.flags |= InodeAttributes::kProjectInherit;
  }
};

// The id of a volume's root; 0 where it has none, or its file system does not have any. Any
// descriptor of it.
Result<uint32_t> root_project(int root);

}  // namespace transship::transfer
