// SourceTree: the sender's picture of a volume through the rounds: what the receiver has, what the
// volume holds now, and so what there is to send.
#pragma once

#include <vector>

#include "transfer/survey.h"

namespace transship::transfer {

class SourceTree final : private SurveyVisitor {
 public:
  // `root` must outlive it.
  explicit SourceTree(int root) : root_(root) {}

  // Looks at everything. Afterwards nodes are fresh, stale or unsure (Node::Flag) or as the
  // receiver has them; `gone` and `added` say what became of names. What changes meanwhile is
  // passed over: the next round meets it.
  //
  // A file that is written through a mapping shows that by its change time only when a page that
  // was clean is written to (on disk file systems), or not at all (tmpfs). So where the volume is
  // `in_use`, and there will be another look, the file system is synced first, what changed since
  // then is unsure in the next round whatever its times say, and on file systems that are not known
  // to work so every file is.
  Status look(bool in_use, const Until& until);

  // From now on the receiver has this, and nothing else. Names are matched at the next look: the
  // first inode of the right type that is met at a node's name is the node. Whatever is not known
  // to be as the receiver has it counts as stale.
  void resume(Inventory held);

  // The same as look(), and kConflict where anything is not as the last look() found it.
  Status check_unchanged(const Until& until);

  Inventory& inventory() { return inventory_; }
  // Names that the receiver has and that are no more.
  [[nodiscard]] const SpillVector<NameChange>& gone() const { return gone_; }
  // Names that are new to nodes that the receiver has.
  [[nodiscard]] const SpillVector<NameChange>& added() const { return added_; }
  // Whether this round's look met the node.
  [[nodiscard]] bool is_there(NodeId node) const { return inventory_.at(node).round == round_; }
  // Whether the file system has a disk under its page cache; after a look().
  [[nodiscard]] bool on_disk() const { return on_disk_; }
  // Takes note that the receiver has been told of all of this.
  void settle();

 private:
  class Visit;
  struct Known {
    uint64_t inode = 0;
    NodeId node = kRootNode;
  };

  Result<std::unique_ptr<DirectoryVisit>> begin(NodeId directory, const NodeStat& stat) override;
  Status vanished(NodeId directory) override;
  Status entry_vanished(NodeId directory) override;
  Status survey_tree(const Until& until);
  void forget_before();
  NodeId find_node(const NodeStat& stat);
  NodeId meet(NodeId directory, std::string_view name, const NodeStat& stat);
  void meet_again(NodeId node, const NodeStat& stat);
  bool may_bind(const Node& node, const NodeStat& stat);
  void bind(Node& node, const NodeStat& stat);
  static void recall_blocks(Node& node, Node& before);
  Node* find_before(const NodeStat& stat);
  static SpillVector<Known> by_inode(const Inventory& inventory, NodeId end);
  static Error changed(const std::string& path);

  int root_;
  Inventory inventory_;
  uint16_t round_ = 0;
  bool strict_ = false;
  bool trusts_times_ = false;
  bool on_disk_ = false;
  bool names_show_ = false;    // in a directory's times
  int64_t unsure_since_ = 0;   // seconds since 1970
  int64_t listed_before_ = 0;  // names of directories that changed earlier are as they were listed
  NodeId first_new_ = kFirstNode;  // of this look
  bool indexed_ = false;
  SpillVector<Known> known_;  // once indexed, by inode: what was there before this look
  SpillMap<uint64_t, NodeId> several_names_;  // of this look
  Inventory before_;  // what was known of the volume before resume(), until it is looked at
  SpillVector<Known> before_known_;  // by inode: of that
  SpillVector<NameChange> gone_;
  SpillVector<NameChange> added_;
};

}  // namespace transship::transfer
