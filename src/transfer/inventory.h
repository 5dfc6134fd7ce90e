// Inventory: what a volume holds, as both ends of a session know it through all its rounds: nodes
// (inodes) and the names that lead to them. Kept small: a million files take about 130 MB, and not
// in memory alone (Spill).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transfer/block_map.h"
#include "transfer/entry.h"
#include "transfer/inode_attributes.h"
#include "transfer/kept_text.h"
#include "transfer/kept_xattrs.h"
#include "transfer/node_stat.h"
#include "transfer/node_table.h"
#include "transfer/sha256.h"
#include "transfer/tree.h"

namespace transship::transfer {

// The same at both ends and in every round. The sender gives them out, one after the other.
using NodeId = uint32_t;
inline constexpr NodeId kRootNode = 0;
inline constexpr NodeId kTransitNode = 1;  // a directory for what is between two places
inline constexpr NodeId kFirstNode = 2;    // the first one given out
inline constexpr NodeId kNoNode = UINT32_MAX;

struct Child {
  NodeId node = kRootNode;
  uint32_t length = 0;
  const char* text = nullptr;
  [[nodiscard]] std::string_view name() const { return {text, length}; }
};

// A name that comes or goes.
struct NameChange {
  NodeId directory = kRootNode;
  std::string_view name;
  NodeId node = kRootNode;
};

// What most nodes do not have.
struct NodeExtra : Spilled {
  KeptXattrs xattrs;
  SpillString link_target;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  BlockMap blocks;                        // the sender's, of large files
  std::unique_ptr<MappedContent> before;  // what a round that is not over replaced; as blocks
  SpillVector<Child> children;            // a directory's, by name; see Inventory::sort_children
  size_t sorted = 0;                      // of them, when it was called last
  std::string_view name;                  // in the parent
};

struct Node {
  enum Flag : uint8_t {
    kFresh = 1,       // the sender's: the receiver does not have it yet
    kStale = 2,       // the sender's: the receiver has it otherwise. A directory of the
                      // receiver's: its metadata are to be set again
    kUnverified = 4,  // the receiver's: not read back since it was written
    kSparse = 8,      // the sender's: a file that has holes, perhaps
    kUnsure = 16,     // the sender's: it may have changed without a sign, so it is compared
    kFlagged = 32,    // the receiver's: it has inode flags on the disk that would be in the way
    kListed = 64,     // the sender's: a directory with just the children that it had when its times
                      // were as they are here
  };

  uint64_t inode = 0;  // of this end; 0: not met yet
  int64_t size = 0;    // regular files
  int64_t mtime_seconds = 0;
  int64_t ctime_seconds = 0;  // of this end
  uint32_t mtime_nanoseconds = 0;
  uint32_t ctime_nanoseconds = 0;
  uint32_t mode = 0;  // with the type; 0: there is no such node (any more)
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;  // names in the inventory
  uint32_t project = 0;
  NodeId parent = kRootNode;  // where one of its names is
  uint16_t round = 0;         // that met it last
  uint8_t flags = 0;
  uint8_t inode_flags = 0;   // of InodeAttributes
  Sha256::Digest content{};  // regular files
  std::unique_ptr<NodeExtra> extra;

  [[nodiscard]] bool exists() const { return mode != 0; }
  [[nodiscard]] bool is_directory() const { return S_ISDIR(mode); }
  [[nodiscard]] bool is_regular() const { return S_ISREG(mode); }
  [[nodiscard]] bool has(uint8_t wanted) const { return (flags & wanted) != 0; }
  void set(uint8_t wanted) { flags = static_cast<uint8_t>(flags | wanted); }
  void clear(uint8_t unwanted) { flags = static_cast<uint8_t>(flags & ~unwanted); }
  [[nodiscard]] InodeAttributes attributes() const { return {inode_flags, project}; }
  void set_attributes(const InodeAttributes& attributes) {
    inode_flags = attributes.flags;
    project = attributes.project;
  }
  // On the disk they hinder later changes: all that a directory hands down, and what forbids.
  [[nodiscard]] bool flags_in_the_way() const {
    return (is_directory() ? inode_flags : inode_flags & InodeAttributes::kLocking) != 0;
  }
  NodeExtra& more();  // made where it is missing
  // Takes everything over that the stat says, but links.
  void take(const NodeStat& stat);
  // Whether content or metadata may be other than when `stat` was taken over.
  [[nodiscard]] bool differs(const NodeStat& stat) const;
};

class Inventory {
 public:
  Inventory();  // a root without anything, and no transit directory
  Inventory(Inventory&&) = default;
  Inventory& operator=(Inventory&&) = default;

  Node& at(NodeId id) { return nodes_[id]; }
  [[nodiscard]] const Node& at(NodeId id) const { return nodes_[id]; }
  [[nodiscard]] NodeId size() const { return static_cast<NodeId>(nodes_.size()); }
  NodeId add();  // an empty node; references to others stay valid

  // A copy that lives as long as the inventory.
  std::string_view keep(std::string_view name) { return names_.keep(name); }
  // One more name of the node; `name` was kept. It is found after sorting.
  void add_child(NodeId directory, std::string_view name, NodeId node);
  // Brings the children in order; those whose node is kNoNode go.
  void sort_children(NodeId directory);
  // Whether it is one that is there. The transit directory is not: it has no mode.
  [[nodiscard]] bool is_directory(NodeId id) const;
  // Null where there is none among those that were there when the children were last sorted.
  [[nodiscard]] Child* find_child(NodeId directory, std::string_view name);
  // Any name of the node in its `parent`; empty where it has none there.
  [[nodiscard]] std::string_view name_of(NodeId node) const;

  // "./a/b"; "." for the root.
  [[nodiscard]] std::string path(NodeId node) const;
  [[nodiscard]] std::string path(NodeId directory, std::string_view name) const;

  // Of everything beneath the root (docs/volume-digest.md). All children are sorted.
  [[nodiscard]] Summary summary() const;

 private:
  NodeTable<Node> nodes_;
  KeptText names_;
};

}  // namespace transship::transfer
