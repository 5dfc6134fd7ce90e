#include "transfer/source_tree.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "transfer/beneath.h"

namespace transship::transfer {
namespace {

constexpr long kXfs = 0x58465342;

// Those that set a file's times when a clean page of a mapping is first written to, having made
// pages read-only when they wrote them back.
bool times_show_mapped_writes(long type) {
  return type == EXT4_SUPER_MAGIC || type == kXfs || type == BTRFS_SUPER_MAGIC ||
         type == F2FS_SUPER_MAGIC;
}

// For file systems that keep times in steps of up to two seconds.
constexpr int64_t kCoarsest = 2;

// Whether the inode may be the node's still: another may have its number by now. Files and
// directories are looked into again then; a link's target, say, is what it was made with.
bool may_be(const Node& node, const NodeStat& stat) {
  if (node.inode != stat.inode || (node.mode & S_IFMT) != (stat.mode & S_IFMT)) return false;
  return node.is_regular() || node.is_directory() || !node.differs(stat);
}

bool same_xattrs(const Node& a, const Node& b) {
  static const KeptXattrs kNone;
  return (a.extra ? a.extra->xattrs : kNone) == (b.extra ? b.extra->xattrs : kNone);
}

}  // namespace

// One directory: its names, merged with those it had.
class SourceTree::Visit final : public DirectoryVisit {
 public:
  Visit(SourceTree& tree, NodeId directory, const NodeStat& stat)
      : tree_(tree),
        directory_(directory),
        known_(is_known(stat)),
        old_(std::move(tree.inventory_.at(directory).more().children)) {
    tree_.inventory_.at(directory).extra->children.clear();
    tree_.inventory_.at(directory).extra->children.reserve(old_.size());
  }

  [[nodiscard]] std::span<const Child> names() const override {
    return known_ ? std::span<const Child>(old_) : std::span<const Child>();
  }

  Status take(std::span<const SurveyedEntry> entries, std::vector<NodeId>& inside) override {
    for (const SurveyedEntry& entry : entries) {
      while (next_ < old_.size() && old_[next_].name() < entry.name) TRANSSHIP_TRY(lose());
      NodeId node = kRootNode;
      if (next_ < old_.size() && old_[next_].name() == entry.name && is_same(entry.stat)) {
        node = old_[next_].node;
        tree_.meet_again(node, entry.stat);
        tree_.inventory_.add_child(directory_, old_[next_++].name(), node);
      } else {
        if (tree_.strict_) return tree_.changed(tree_.inventory_.path(directory_, entry.name));
        node = tree_.meet(directory_, entry.name, entry.stat);
      }
      if (tree_.strict_ && tree_.inventory_.at(node).has(Node::kStale))
        return tree_.changed(tree_.inventory_.path(directory_, entry.name));
      if (S_ISDIR(entry.stat.mode)) inside.push_back(node);
    }
    return {};
  }

  Status end() override {
    while (next_ < old_.size()) TRANSSHIP_TRY(lose());
    tree_.inventory_.at(directory_).set(Node::kListed);
    return {};
  }

 private:
  // A name that comes or goes moves the times of its directory.
  [[nodiscard]] bool is_known(const NodeStat& stat) const {
    const Node& node = tree_.inventory_.at(directory_);
    return tree_.names_show_ && node.has(Node::kListed) && !node.differs(stat) &&
           node.ctime_seconds < tree_.listed_before_;
  }

  // Whether the name still leads to the same node, and to no other that has its inode now.
  [[nodiscard]] bool is_same(const NodeStat& stat) const {
    const Node& node = tree_.inventory_.at(old_[next_].node);
    if (node.inode == 0) return tree_.may_bind(node, stat);
    return may_be(node, stat) && (!node.is_directory() || !tree_.is_there(old_[next_].node));
  }

  Status lose() {
    const Child& child = old_[next_++];
    if (tree_.strict_) return tree_.changed(tree_.inventory_.path(directory_, child.name()));
    if (!tree_.inventory_.at(child.node).has(Node::kFresh))
      tree_.gone_.push_back({directory_, child.name(), child.node});
    return {};
  }

  SourceTree& tree_;
  NodeId directory_;
  bool known_;  // the names are the old ones
  SpillVector<Child> old_;
  size_t next_ = 0;
};

Status SourceTree::look(bool in_use, const Until& until) {
  auto root = open_for_reading(root_, ".", O_DIRECTORY, ".");
  if (!root) return root.error();
  struct statfs file_system {};
  if (::fstatfs(root->get(), &file_system) < 0) return errno_error("look at the volume", errno);
  on_disk_ = file_system.f_type != TMPFS_MAGIC;
  trusts_times_ = times_show_mapped_writes(file_system.f_type);
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (in_use && trusts_times_ && ::syncfs(root->get()) < 0)
    return errno_error("sync the volume's file system", errno);
  names_show_ = trusts_times_ || !on_disk_;
  listed_before_ = std::exchange(unsure_since_, now.tv_sec - kCoarsest);
  strict_ = false;
  ++round_;
  forget_before();
  first_new_ = inventory_.size();
  indexed_ = false;
  several_names_.clear();
  TRANSSHIP_TRY(survey_tree(until));
  known_ = SpillVector<Known>();  // "= {}" would keep its memory
  before_known_ = SpillVector<Known>();
  before_ = Inventory();
  return {};
}

Status SourceTree::check_unchanged(const Until& until) {
  strict_ = true;
  listed_before_ = unsure_since_;
  ++round_;
  several_names_.clear();
  return survey_tree(until);
}

Status SourceTree::survey_tree(const Until& until) {
  inventory_.at(kRootNode).links = 1;
  return survey(root_, inventory_, *this, until);
}

void SourceTree::forget_before() {
  for (NodeId id = kFirstNode; id < inventory_.size(); ++id) {
    if (inventory_.at(id).extra) inventory_.at(id).extra->before.reset();
  }
}

void SourceTree::resume(Inventory held) {
  settle();
  // Where there was no look since the last time, what was known before that is of use still.
  if (before_known_.empty()) {
    before_ = std::move(inventory_);
    before_known_ = by_inode(before_, before_.size());
  }
  inventory_ = std::move(held);
}

Result<std::unique_ptr<DirectoryVisit>> SourceTree::begin(NodeId directory, const NodeStat& stat) {
  Node& node = inventory_.at(directory);
  if (strict_ && node.differs(stat)) return changed(inventory_.path(directory));
  if (directory == kRootNode) {
    meet_again(kRootNode, stat);
    node.links = 1;
  } else if (node.differs(stat)) {
    node.set(Node::kStale);
  }
  return std::unique_ptr<DirectoryVisit>(std::make_unique<Visit>(*this, directory, stat));
}

// It is sent as an empty one; the next round will find that its name is gone.
Status SourceTree::vanished(NodeId directory) {
  if (strict_) return changed(inventory_.path(directory));
  inventory_.at(directory).set(Node::kStale);
  TRANSSHIP_TRY(Visit(*this, directory, {}).end());
  inventory_.at(directory).clear(Node::kListed);
  return {};
}

Status SourceTree::entry_vanished(NodeId directory) {
  return strict_ ? Status(changed(inventory_.path(directory))) : Status();
}

SpillVector<SourceTree::Known> SourceTree::by_inode(const Inventory& inventory, NodeId end) {
  SpillVector<Known> known;
  for (NodeId id = 0; id < end; ++id) {
    if (inventory.at(id).exists() && inventory.at(id).inode != 0)
      known.push_back({inventory.at(id).inode, id});
  }
  std::sort(known.begin(), known.end(),
            [](const Known& a, const Known& b) { return a.inode < b.inode; });
  return known;
}

NodeId SourceTree::find_node(const NodeStat& stat) {
  const auto several = several_names_.find(stat.inode);
  if (several != several_names_.end()) return several->second;
  // Not before a name is new: in most looks few are, or none.
  if (round_ > 1 && !std::exchange(indexed_, true)) known_ = by_inode(inventory_, first_new_);
  auto at =
      std::lower_bound(known_.begin(), known_.end(), stat.inode,
                       [](const Known& known, uint64_t inode) { return known.inode < inode; });
  for (; at != known_.end() && at->inode == stat.inode; ++at) {
    const Node& node = inventory_.at(at->node);
    if (!may_be(node, stat)) continue;
    // One that has been met elsewhere: a directory that moved meanwhile, or a name that went.
    if (is_there(at->node) && (node.is_directory() || stat.links < 2)) continue;
    return at->node;
  }
  return kRootNode;
}

// A name that the directory did not have. That the inode is known is a hint, no more: whatever is
// said of the node is compared, not believed.
NodeId SourceTree::meet(NodeId directory, std::string_view name, const NodeStat& stat) {
  const std::string_view kept = inventory_.keep(name);
  NodeId node = find_node(stat);
  if (node == kRootNode) {
    node = inventory_.add();
    inventory_.at(node).take(stat);
    inventory_.at(node).round = round_;
    inventory_.at(node).set(Node::kFresh | Node::kStale);
    if (S_ISDIR(stat.mode)) inventory_.at(node).more();
  } else {
    meet_again(node, stat);
    inventory_.at(node).set(Node::kStale);
    if (!inventory_.at(node).has(Node::kFresh)) added_.push_back({directory, kept, node});
  }
  if (!S_ISDIR(stat.mode) && stat.links > 1) several_names_[stat.inode] = node;
  inventory_.add_child(directory, kept, node);
  return node;
}

// A node that was known.
void SourceTree::meet_again(NodeId id, const NodeStat& stat) {
  Node& node = inventory_.at(id);
  if (node.round != round_) {
    node.round = round_;
    node.links = 0;
    if (node.inode == 0) {
      bind(node, stat);
    } else if (node.differs(stat)) {
      node.take(stat);
      node.set(Node::kStale);
    } else if (!strict_ && !trusts_times_ && S_ISREG(stat.mode) && stat.size > 0) {
      node.set(Node::kUnsure);
    }
  }
  if (!S_ISDIR(stat.mode) && stat.links > 1) several_names_[stat.inode] = id;
}

// Whether a node that the receiver has may be the one that is met at its name. What cannot be
// altered is made anew where it may be another.
bool SourceTree::may_bind(const Node& node, const NodeStat& stat) {
  if ((node.mode & S_IFMT) != (stat.mode & S_IFMT)) return false;
  if (!S_ISDIR(stat.mode) && stat.links > 1 && several_names_.contains(stat.inode)) return false;
  if (S_ISCHR(stat.mode) || S_ISBLK(stat.mode)) {
    return node.extra->device_major == stat.device_major &&
           node.extra->device_minor == stat.device_minor;
  }
  if (!S_ISLNK(stat.mode)) return true;
  const Node* before = find_before(stat);
  return before != nullptr && !before->differs(stat) && before->extra &&
         before->extra->link_target == node.extra->link_target;
}

// Of what was known before, a digest says which blocks the receiver's file has; and where nothing
// has changed since, nothing is read again.
void SourceTree::bind(Node& node, const NodeStat& stat) {
  const bool same = node.mode == stat.mode && node.uid == stat.uid && node.gid == stat.gid &&
                    node.mtime_seconds == stat.mtime_seconds &&
                    node.mtime_nanoseconds == stat.mtime_nanoseconds;
  node.take(stat);
  // What else is the receiver's is seen when it is looked into.
  node.clear(Node::kStale);
  node.set(same ? Node::kUnsure : Node::kStale);
  Node* const before = find_before(stat);
  if (before == nullptr) return;
  if (node.is_regular()) {
    const bool mapped = node.extra && node.extra->blocks.block != 0;
    if (!mapped) recall_blocks(node, *before);
    if (node.content != before->content) return;
    // Where it was looked into again, its holes are to be compared.
    if (mapped && !(before->extra && before->extra->blocks.extents == node.extra->blocks.extents))
      return;
    if (!trusts_times_ && node.size > 0) return;
  }
  if (same && same_xattrs(node, *before) && node.attributes() == before->attributes() &&
      !before->differs(stat) && !before->has(Node::kFresh | Node::kStale | Node::kUnsure))
    node.clear(Node::kUnsure);
}

// Those of the receiver's file, which has the content that was sent last or the one before that.
void SourceTree::recall_blocks(Node& node, Node& before) {
  if (!before.extra) return;
  if (node.content == before.content && before.extra->blocks.block != 0) {
    node.more().blocks = std::move(before.extra->blocks);
  } else if (before.extra->before && node.content == before.extra->before->content) {
    node.more().blocks = std::move(before.extra->before->blocks);
  }
}

Node* SourceTree::find_before(const NodeStat& stat) {
  const auto at =
      std::lower_bound(before_known_.begin(), before_known_.end(), stat.inode,
                       [](const Known& known, uint64_t inode) { return known.inode < inode; });
  if (at == before_known_.end() || at->inode != stat.inode) return nullptr;
  Node& node = before_.at(at->node);
  return (node.mode & S_IFMT) == (stat.mode & S_IFMT) ? &node : nullptr;
}

void SourceTree::settle() {
  for (NodeId id = kFirstNode; id < inventory_.size(); ++id) {
    Node& node = inventory_.at(id);
    // It changed about when, or after, this round began, and may again without its times' moving.
    if (node.exists() && node.ctime_seconds >= unsure_since_) node.set(Node::kUnsure);
  }
  gone_.clear();
  added_.clear();
}

Error SourceTree::changed(const std::string& path) {
  return {ErrorCode::kConflict, quoted(path) +
                                    " changed while the volume was read: is the pod, or somebody "
                                    "else, still writing?"};
}

}  // namespace transship::transfer
