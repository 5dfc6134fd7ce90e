// RoundReceiver's changes of names: links, moves and what goes. They wait for the writing threads.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "transfer/round_receiver.h"

namespace transship::transfer {

Status RoundReceiver::take_names(std::string_view payload) {
  lanes_.drain();
  TRANSSHIP_TRY(failure());
  sort_names();
  for (Decoder in(payload); !in.done();) {
    const Op op = in.op();
    TRANSSHIP_TRY(change_name(op, in));
  }
  sort_names();
  return {};
}

Status RoundReceiver::change_name(Op op, Decoder& in) {
  const NodeId id = in.node();
  const NodeId directory = in.node();
  const std::string_view name = in.name();
  if (in.failed()) return refuse(directory, name, "its operation is malformed");
  if (op == Op::kAttach || op == Op::kLink) {
    TRANSSHIP_TRY(count_change(directory, name));
    const std::string_view kept = inventory_.keep(name);
    return op == Op::kAttach ? attach(id, directory, kept) : link(id, directory, kept, in);
  }
  if (op != Op::kUnlink && op != Op::kRemoveDirectory && op != Op::kDetach)
    return refuse(directory, name, "its operation is none that is known");
  TRANSSHIP_TRY(check_place(id, directory, name));
  Node& node = inventory_.at(id);
  if (op != Op::kDetach && node.is_directory() != (op == Op::kRemoveDirectory))
    return refuse(directory, name, "it is of another type");
  auto handle = open_to_change(directory);
  if (!handle) return handle.error();
  TRANSSHIP_TRY(unlock(id, *handle, name));
  if (op == Op::kDetach) {
    if (detached_.contains(id)) return refuse(directory, name, "it is detached twice");
    TRANSSHIP_TRY(open_transit());
    auto transit = handles_.open(kTransitNode);
    if (!transit) return transit.error();
    if (::renameat((*handle)->get(), std::string(name).c_str(), (*transit)->get(),
                   std::to_string(id).c_str()) < 0)
      return path_error("move", inventory_.path(directory, name), errno);
    node.parent = kTransitNode;
    if (node.is_directory()) node.more().name = inventory_.keep(std::to_string(id));
    detached_.insert(id);
  } else if (::unlinkat((*handle)->get(), std::string(name).c_str(),
                        op == Op::kRemoveDirectory ? AT_REMOVEDIR : 0) < 0) {
    return path_error("remove", inventory_.path(directory, name), errno);
  }
  inventory_.find_child(directory, name)->node = kNoNode;
  --entries_;
  --node.links;
  touch(directory);
  node.set(Node::kUnverified);
  if (op == Op::kDetach) return {};
  if (op == Op::kRemoveDirectory) handles_.forget(id);
  if (node.links == 0 && !detached_.contains(id)) {
    bytes_ -= node.size;
    node = Node();
  }
  return {};
}

Status RoundReceiver::attach(NodeId id, NodeId directory, std::string_view name) {
  if (!detached_.contains(id) || !inventory_.is_directory(directory))
    return refuse(directory, name, "nothing was detached for it, or its directory is not there");
  auto transit = handles_.open(kTransitNode);
  if (!transit) return transit.error();
  auto handle = open_to_change(directory);
  if (!handle) return handle.error();
  if (::renameat2((*transit)->get(), std::to_string(id).c_str(), (*handle)->get(),
                  std::string(name).c_str(), RENAME_NOREPLACE) < 0)
    return not_made("move", directory, name);
  detached_.erase(id);
  Node& node = inventory_.at(id);
  node.parent = directory;
  if (node.is_directory()) node.more().name = name;
  node.set(Node::kUnverified);
  // A directory's own time may change with where it is.
  if (node.is_directory()) touch(id);
  touch(directory);
  add_name(directory, name, id);
  ++entries_;
  return {};
}

Status RoundReceiver::link(NodeId id, NodeId directory, std::string_view name, Decoder& in) {
  const NodeId there = in.node();
  const std::string_view name_there = in.name();
  if (in.failed()) return refuse(directory, name, "its operation is malformed");
  TRANSSHIP_TRY(check_place(id, there, name_there));
  Node& node = inventory_.at(id);
  if (!inventory_.is_directory(directory) || node.is_directory() ||
      ++entries_ > options_.limits.entries)
    return refuse(directory, name, "it is a link that cannot be made");
  auto from = handles_.open(there);
  if (!from) return from.error();
  TRANSSHIP_TRY(unlock(id, *from, name_there));
  auto handle = open_to_change(directory);
  if (!handle) return handle.error();
  if (::linkat((*from)->get(), std::string(name_there).c_str(), (*handle)->get(),
               std::string(name).c_str(), 0) < 0)
    return not_made("make hard link", directory, name);
  node.set(Node::kUnverified);
  touch(directory);
  add_name(directory, name, id);
  if (options_.progress != nullptr) ++options_.progress->entries;
  return {};
}

// In the volume itself, since names can only be moved within a file system; for the time of a
// round.
Status RoundReceiver::open_transit() {
  if (transit_) return {};
  auto root = open_to_change(kRootNode);
  if (!root) return root.error();
  std::random_device random;
  char name[40];
  std::snprintf(name, sizeof name, ".transship-moving-%08x%08x", random(), random());
  if (::mkdirat((*root)->get(), name, 0700) < 0)
    return errno_error("make a directory for moves", errno);
  Node& transit = inventory_.at(kTransitNode);
  transit.parent = kRootNode;
  transit.more().name = inventory_.keep(name);
  transit_ = true;
  touch(kRootNode);
  return {};
}

}  // namespace transship::transfer
