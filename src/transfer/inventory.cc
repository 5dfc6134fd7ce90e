#include "transfer/inventory.h"

#include <algorithm>

namespace transship::transfer {

NodeStat node_stat(const struct statx& stat) {
  NodeStat out;
  out.inode = stat.stx_ino;
  out.blocks = stat.stx_blocks;
  out.size = static_cast<int64_t>(stat.stx_size);
  out.mtime_seconds = stat.stx_mtime.tv_sec;
  out.mtime_nanoseconds = stat.stx_mtime.tv_nsec;
  out.ctime_seconds = stat.stx_ctime.tv_sec;
  out.ctime_nanoseconds = stat.stx_ctime.tv_nsec;
  out.mode = stat.stx_mode;
  out.uid = stat.stx_uid;
  out.gid = stat.stx_gid;
  out.links = stat.stx_nlink;
  out.device_major = stat.stx_rdev_major;
  out.device_minor = stat.stx_rdev_minor;
  return out;
}

NodeExtra& Node::more() {
  if (!extra) extra = std::make_unique<NodeExtra>();
  return *extra;
}

void Node::take(const NodeStat& stat) {
  inode = stat.inode;
  size = S_ISREG(stat.mode) ? stat.size : 0;
  mtime_seconds = stat.mtime_seconds;
  mtime_nanoseconds = stat.mtime_nanoseconds;
  ctime_seconds = stat.ctime_seconds;
  ctime_nanoseconds = stat.ctime_nanoseconds;
  mode = stat.mode;
  uid = stat.uid;
  gid = stat.gid;
  clear(kSparse | kListed);
  if (S_ISREG(mode) && static_cast<int64_t>(stat.blocks) * 512 < size) set(kSparse);
  if (S_ISCHR(mode) || S_ISBLK(mode)) {
    more().device_major = stat.device_major;
    more().device_minor = stat.device_minor;
  }
}

bool Node::differs(const NodeStat& stat) const {
  return inode != stat.inode || mode != stat.mode || ctime_seconds != stat.ctime_seconds ||
         ctime_nanoseconds != stat.ctime_nanoseconds || mtime_seconds != stat.mtime_seconds ||
         mtime_nanoseconds != stat.mtime_nanoseconds || uid != stat.uid || gid != stat.gid ||
         (S_ISREG(mode) && size != stat.size);
}

Inventory::Inventory() {
  for (NodeId id = 0; id < kFirstNode; ++id) {
    add();
    nodes_[id].more();
  }
  nodes_[kRootNode].mode = S_IFDIR;
  nodes_[kRootNode].links = 1;
  nodes_[kRootNode].set(Node::kStale);
}

NodeId Inventory::add() {
  nodes_.add();
  return static_cast<NodeId>(nodes_.size() - 1);
}

void Inventory::add_child(NodeId directory, std::string_view name, NodeId node) {
  nodes_[directory].more().children.push_back(
      {node, static_cast<uint32_t>(name.size()), name.data()});
  Node& added = nodes_[node];
  added.parent = directory;
  ++added.links;
  if (added.is_directory()) added.more().name = name;
}

void Inventory::sort_children(NodeId directory) {
  auto& children = nodes_[directory].more().children;
  std::erase_if(children, [](const Child& child) { return child.node == kNoNode; });
  const auto by_name = [](const Child& a, const Child& b) { return a.name() < b.name(); };
  if (!std::is_sorted(children.begin(), children.end(), by_name))
    std::sort(children.begin(), children.end(), by_name);
  nodes_[directory].extra->sorted = children.size();
}

bool Inventory::is_directory(NodeId id) const { return id < size() && nodes_[id].is_directory(); }

Child* Inventory::find_child(NodeId directory, std::string_view name) {
  const auto& extra = nodes_[directory].extra;
  if (!extra) return nullptr;
  const auto end = extra->children.begin() + static_cast<std::ptrdiff_t>(extra->sorted);
  auto found =
      std::lower_bound(extra->children.begin(), end, name,
                       [](const Child& child, std::string_view n) { return child.name() < n; });
  // One that went may have left its place.
  while (found != end && found->name() == name && found->node == kNoNode) ++found;
  if (found == end || found->name() != name) return nullptr;
  return &*found;
}

std::string_view Inventory::name_of(NodeId node) const {
  if (nodes_[node].is_directory() || node == kTransitNode) return nodes_[node].extra->name;
  const auto& extra = nodes_[nodes_[node].parent].extra;
  if (!extra) return {};
  for (const Child& child : extra->children) {
    if (child.node == node) return child.name();
  }
  return {};
}

std::string Inventory::path(NodeId node) const {
  std::vector<std::string_view> names;
  while (node != kRootNode) {
    names.push_back(name_of(node));
    node = nodes_[node].parent;
  }
  std::string path = ".";
  for (auto name = names.rbegin(); name != names.rend(); ++name) (path += '/') += *name;
  return path;
}

std::string Inventory::path(NodeId directory, std::string_view name) const {
  std::string whole = path(directory);
  (whole += '/') += name;
  return whole;
}

}  // namespace transship::transfer
