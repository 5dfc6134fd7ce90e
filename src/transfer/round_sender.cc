#include "transfer/round_sender.h"

#include <algorithm>
#include <utility>

#include "transfer/source_xattrs.h"

namespace transship::transfer {
namespace {

constexpr size_t kFrame = 128 << 10;

}  // namespace

void RoundSender::resume(Inventory held) {
  pending_.clear();
  resumed_ = true;
  source_.resume(std::move(held));
}

// The source's counts as it was at first: whoever changes it later changes one id among others.
Status RoundSender::take_target_project(uint32_t project) {
  projects_.target = project;
  if (!projects_.carried || std::exchange(met_, true)) return {};
  auto own = root_project(root_);
  if (!own) return own.error();
  projects_.source = *own;
  return {};
}

// What need not be looked into again is what has been done.
void RoundSender::show_held(Progress& progress) {
  const Inventory& inventory = source_.inventory();
  int64_t bytes = 0;
  int64_t entries = 0;
  for (NodeId id = 0; id < inventory.size(); ++id) {
    if (!source_.is_there(id) || inventory.at(id).has(Node::kFresh | Node::kStale | Node::kUnsure))
      continue;
    bytes += inventory.at(id).size;
    ++entries;
  }
  progress.bytes = bytes;
  progress.entries = entries;
}

Result<RoundTotals> RoundSender::send(bool final, const Until& until, Progress* progress) {
  const int64_t before = out_.written();
  final_ = final;
  entries_ = 0;
  const auto began = std::chrono::steady_clock::now();
  TRANSSHIP_TRY(source_.look(/*in_use=*/!final, until));
  const auto looked = std::chrono::steady_clock::now() - began;
  const Inventory& inventory = source_.inventory();
  handles_.emplace(root_, inventory);
  if (std::exchange(resumed_, false) && progress != nullptr) show_held(*progress);
  int64_t bytes = 0;
  for (NodeId id = 0; id < inventory.size(); ++id) bytes += inventory.at(id).size;
  TRANSSHIP_TRY(send_names());
  {
    FileSender files(
        inventory, out_,
        {final, block_size_for(bytes), projects_, xattrs_, until, progress, source_.on_disk()});
    TRANSSHIP_TRY(send_files(files));
    TRANSSHIP_TRY(files.finish());
    entries_ += files.sent();
  }
  TRANSSHIP_TRY(send_links());
  TRANSSHIP_TRY(send_directories());
  if (!final) source_.settle();
  TRANSSHIP_TRY(Spill::of_process().check());
  return RoundTotals{out_.written() - before, entries_, looked};
}

Status RoundSender::change_name(Op op, NodeId node, NodeId directory, std::string_view name) {
  Encoder(pending_).op(op).number(node).place(directory, name);
  return added(FrameKind::kNames);
}

Status RoundSender::link(NodeId node, NodeId directory, std::string_view name, const Place& there) {
  Encoder(pending_)
      .op(Op::kLink)
      .number(node)
      .place(directory, name)
      .place(there.directory, there.name);
  return added(FrameKind::kNames);
}

Status RoundSender::added(FrameKind kind) {
  ++entries_;
  return pending_.size() < kFrame ? Status() : flush(kind);
}

Status RoundSender::flush(FrameKind kind) {
  if (pending_.empty()) return {};
  const Status written = out_.write(kind, pending_);
  pending_.clear();
  return written;
}

// First every name goes that is no more, so that no new one meets an old one. What lives on under
// another name only is detached: renamed into a directory of the receiver's own, so that moves
// need no order among themselves. Then come new directories, and the new names of what is there.
Status RoundSender::send_names() {
  detached_.clear();
  added_names_.clear();
  added_texts_.clear();
  standing_.clear();
  for (const NameChange& change : source_.added()) {
    ++added_names_[change.node];
    added_texts_.insert(change.name.data());
    standing_[change.node] = {};
  }
  for (const NameChange& change : source_.gone()) TRANSSHIP_TRY(lose_name(change));
  TRANSSHIP_TRY(flush(FrameKind::kNames));
  TRANSSHIP_TRY(make_directories());
  return add_names();
}

Status RoundSender::lose_name(const NameChange& change) {
  Node& node = source_.inventory().at(change.node);
  if (!source_.is_there(change.node)) {
    if (node.is_directory()) return remove_directory(change);
    node = Node();
    return change_name(Op::kUnlink, change.node, change.directory, change.name);
  }
  const auto added = added_names_.find(change.node);
  const bool stays = node.links > (added == added_names_.end() ? 0 : added->second);
  const bool detach = !stays && detached_.insert(change.node).second;
  return change_name(detach ? Op::kDetach : Op::kUnlink, change.node, change.directory,
                     change.name);
}

// With all in it, from the bottom.
Status RoundSender::remove_directory(const NameChange& change) {
  struct Level {
    NameChange change;
    size_t next = 0;
  };
  Inventory& inventory = source_.inventory();
  std::vector<Level> levels = {{change, 0}};
  while (!levels.empty()) {
    const NameChange at = levels.back().change;
    const auto& children = inventory.at(at.node).more().children;
    if (levels.back().next == children.size()) {
      TRANSSHIP_TRY(change_name(Op::kRemoveDirectory, at.node, at.directory, at.name));
      inventory.at(at.node) = Node();
      levels.pop_back();
      continue;
    }
    const Child child = children[levels.back().next++];
    const Node& inside = inventory.at(child.node);
    if (inside.has(Node::kFresh)) continue;  // never sent
    const NameChange lost{at.node, child.name(), child.node};
    if (inside.is_directory() && !source_.is_there(child.node)) {
      levels.push_back({lost, 0});
    } else {
      TRANSSHIP_TRY(lose_name(lost));
    }
  }
  return {};
}

Status RoundSender::make_directories() {
  Inventory& inventory = source_.inventory();
  directories_.clear();
  SpillVector<NodeId> waiting = {kRootNode};
  while (!waiting.empty()) {
    const NodeId directory = waiting.back();
    waiting.pop_back();
    directories_.push_back(directory);
    for (const Child& child : inventory.at(directory).more().children) {
      if (!standing_.empty() && !added_texts_.contains(child.text)) {
        const auto standing = standing_.find(child.node);
        if (standing != standing_.end()) standing->second = {directory, child.name(), false};
      }
      Node& node = inventory.at(child.node);
      if (!node.is_directory()) continue;
      waiting.push_back(child.node);
      if (!node.has(Node::kFresh)) continue;
      node.clear(Node::kFresh);
      Encoder(pending_).op(Op::kMakeDirectory).number(child.node).place(directory, child.name());
      TRANSSHIP_TRY(added(FrameKind::kDirectories));
    }
  }
  return flush(FrameKind::kDirectories);
}

Status RoundSender::add_names() {
  for (const NameChange& change : source_.added()) {
    if (detached_.erase(change.node) != 0) {
      standing_[change.node] = {change.directory, change.name, false};
      TRANSSHIP_TRY(change_name(Op::kAttach, change.node, change.directory, change.name));
    } else {
      TRANSSHIP_TRY(link(change.node, change.directory, change.name, standing_[change.node]));
    }
  }
  return flush(FrameKind::kNames);
}

// Each node at the first of its names.
Status RoundSender::send_files(FileSender& files) {
  queued_.clear();
  links_.clear();
  Inventory& inventory = source_.inventory();
  for (const NodeId directory : directories_) {
    SpillVector<FileItem> found;
    for (const Child& child : inventory.at(directory).more().children) {
      Node& node = inventory.at(child.node);
      if (node.is_directory()) continue;
      if (node.links > 1) {
        // Its flags are a thread's once it is queued.
        const auto queued = queued_.find(child.node);
        if (queued != queued_.end()) {
          if (queued->second.fresh) links_.push_back({directory, child.name(), child.node});
          continue;
        }
        queued_[child.node] = {directory, child.name(), node.has(Node::kFresh)};
      }
      if (node.has(Node::kFresh | Node::kStale | Node::kUnsure))
        found.push_back({child.node, &node, directory, child.name(), nullptr});
    }
    if (!found.empty()) TRANSSHIP_TRY(queue_files(directory, std::move(found), files));
  }
  return {};
}

// In the order of inode numbers, which is about the order on disk.
Status RoundSender::queue_files(NodeId directory, SpillVector<FileItem> found, FileSender& files) {
  auto handle = handles_->open(directory);
  if (!handle) return gone_meanwhile(handle.error());
  std::sort(found.begin(), found.end(),
            [](const FileItem& a, const FileItem& b) { return a.node->inode < b.node->inode; });
  for (FileItem& item : found) {
    item.handle = *handle;
    TRANSSHIP_TRY(files.add(std::move(item)));
  }
  return {};
}

// Of a directory: the next round will see, if there is one.
Status RoundSender::gone_meanwhile(const Error& error) const {
  if (error.code != ErrorCode::kNotFound) return error;
  if (!final_) return {};
  return Error{ErrorCode::kConflict, error.message + ": it vanished while the volume was read"};
}

// A node that went before it could be read is still fresh, and has no names there.
Status RoundSender::send_links() {
  for (const NameChange& change : links_) {
    if (!source_.inventory().at(change.node).has(Node::kFresh))
      TRANSSHIP_TRY(link(change.node, change.directory, change.name, queued_[change.node]));
  }
  return flush(FrameKind::kNames);
}

// When all is in them: what is made in a directory changes its time.
Status RoundSender::send_directories() {
  Inventory& inventory = source_.inventory();
  for (const NodeId directory : directories_) {
    Node& node = inventory.at(directory);
    if (!node.has(Node::kStale | Node::kUnsure)) continue;
    auto handle = handles_->open(directory);
    if (!handle) {
      TRANSSHIP_TRY(gone_meanwhile(handle.error()));
      continue;
    }
    auto taken =
        take_xattrs(node, XattrPlace((*handle)->get(), xattrs_), (*handle)->get(), "", final_);
    if (!taken) return taken.error().during(quoted(inventory.path(directory)));
    auto flags = take_flags(node, (*handle)->get(), "", projects_);
    if (!flags) return flags.error().during(quoted(inventory.path(directory)));
    const bool changed = taken->changed || *flags || node.has(Node::kStale);
    node.clear(Node::kStale | Node::kUnsure);
    if (!taken->sure) node.set(Node::kStale);
    if (!changed) continue;
    Encoder(pending_).op(Op::kDirectory).number(directory).metadata(node);
    TRANSSHIP_TRY(added(FrameKind::kNodes));
  }
  return flush(FrameKind::kNodes);
}

}  // namespace transship::transfer
