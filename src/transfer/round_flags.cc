// RoundReceiver's inode flags: off before something is changed, on again when all else is right.
#include <sys/stat.h>

#include "transfer/round_receiver.h"

namespace transship::transfer {

Status RoundReceiver::take_metadata(Decoder& in, NodeId id) {
  Node& node = inventory_.at(id);
  in.metadata(node);
  if (!options_.projects &&
      (node.project != 0 || (node.inode_flags & InodeAttributes::kProjectInherit) != 0))
    return corrupt(".", "a project id comes, and none is carried for this volume");
  if (node.flags_in_the_way()) flags_wait_ = true;
  return {};
}

// An inode that can only be changed without its flags.
Status RoundReceiver::unlock(NodeId id, const DirectoryHandle& in, std::string_view name) {
  Node& node = inventory_.at(id);
  if (!node.has(Node::kFlagged)) return {};
  if (const Written failed =
          unlock_inode(in->get(), std::string(name), node.mode, options_.projects))
    return write_error(*failed, inventory_.path(id));
  node.clear(Node::kFlagged);
  node.set(Node::kUnverified);
  if (node.is_directory()) touch(id);
  flags_wait_ = true;
  return {};
}

Result<DirectoryHandle> RoundReceiver::open_to_change(NodeId directory) {
  auto handle = handles_.open(directory);
  if (!handle) return handle;
  TRANSSHIP_TRY(unlock(directory, *handle, ""));
  return handle;
}

bool RoundReceiver::waits_for_flags(const Node& node) const {
  return node.flags_in_the_way() && !node.has(Node::kFlagged);
}

// All names, links and metadata are as they are to be.
Status RoundReceiver::set_flags() {
  if (!flags_wait_) return {};
  std::vector<NodeId> directories = {kRootNode};
  while (!directories.empty()) {
    const NodeId directory = directories.back();
    directories.pop_back();
    DirectoryHandle handle;
    for (const Child& child : inventory_.at(directory).more().children) {
      const Node& node = inventory_.at(child.node);
      if (node.is_directory()) directories.push_back(child.node);
      if (!waits_for_flags(node)) continue;
      if (!handle) {
        auto opened = handles_.open(directory);
        if (!opened) return opened.error();
        handle = std::move(opened).value();
      }
      TRANSSHIP_TRY(set_flags_of(child.node, handle, child.name()));
    }
  }
  if (waits_for_flags(inventory_.at(kRootNode))) {
    auto root = handles_.open(kRootNode);
    if (!root) return root.error();
    TRANSSHIP_TRY(set_flags_of(kRootNode, *root, ""));
  }
  flags_wait_ = false;
  return {};
}

Status RoundReceiver::set_flags_of(NodeId id, const DirectoryHandle& in, std::string_view name) {
  Node& node = inventory_.at(id);
  if (const Written failed =
          lock_inode(in->get(), std::string(name), node.mode, node.attributes(), options_.projects))
    return write_error(*failed, inventory_.path(id));
  node.set(Node::kFlagged | Node::kUnverified);
  return {};
}

}  // namespace transship::transfer
