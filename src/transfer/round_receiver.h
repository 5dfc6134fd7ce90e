// RoundReceiver: takes the rounds of one volume into one directory, everything in them checked, and
// reads back what it wrote.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "transfer/write_lanes.h"

namespace transship::transfer {

class RoundReceiver {
 public:
  // `root` must outlive it.
  RoundReceiver(int root, const ReceiveOptions& options);

  // Before the first round. kPreconditionFailed unless the directory is empty but for an empty
  // lost+found. Takes away what entries would inherit from it.
  Status begin();

  // Instead: takes the directory with what it holds (held_tree.h), for a volume of about so many
  // bytes. `known` is what a receiver of before knew; it may be null.
  Status resume(int64_t volume_bytes, const Inventory* known);

  // Writes what has come as far as it goes, and stops in the middle of whatever it is. Of use
  // afterwards only for what it knew.
  void abandon();

  [[nodiscard]] const Inventory& inventory() const { return inventory_; }
  void forget_blocks();  // of files, which only the sender needs

  // One of kDirectories, kNames, kNodes. What is written on other threads may fail only in
  // end_round().
  Status take(Frame frame);

  // Everything of the round is written, and all metadata are set.
  Status end_round();

  // Syncs, and reads back everything that was written since it was read back last. kCorrupt names
  // the paths that differ. After a final round (`whole`) every entry on the disk is looked at, and
  // anything that was not sent, or changed since it was read back, is found, too.
  Status verify(bool whole);

  // Of all that was received.
  [[nodiscard]] Summary summary() const { return inventory_.summary(); }

 private:
  struct Large {
    size_t lane = 0;
    std::shared_ptr<OpenFile> file;
    NodeId directory = kRootNode;
    std::string_view name;
  };

  Status take_directories(std::string_view payload);
  Status take_names(std::string_view payload);
  Status change_name(Op op, Decoder& in);
  Status attach(NodeId id, NodeId directory, std::string_view name);
  Status link(NodeId id, NodeId directory, std::string_view name, Decoder& in);
  Status open_transit();
  Status take_nodes(const std::shared_ptr<const Frame>& frame);
  Result<WriteJob> read_job(Decoder& in, std::optional<size_t>& lane);
  Status read_piece(Decoder& in, NodeId id, WriteJob& job, std::optional<size_t>& lane);
  Status read_node(Decoder& in, NodeId id, WriteJob& job, std::optional<size_t>& lane);
  Status settle(NodeId directory);  // all its metadata, exactly
  // Takes the flags off that are on the disk, which may forbid what is to be done. In the end they
  // are set again, if the node still has them.
  Result<DirectoryHandle> open_to_change(NodeId directory);
  Status unlock(NodeId id, const DirectoryHandle& in, std::string_view name);
  Status set_flags();
  Status set_flags_of(NodeId id, const DirectoryHandle& in, std::string_view name);
  [[nodiscard]] bool waits_for_flags(const Node& node) const;
  Status take_metadata(Decoder& in, NodeId id);

  Status check_new(NodeId id, NodeId directory, std::string_view name);
  Status check_place(NodeId id, NodeId directory, std::string_view name);
  Status check_once(NodeId id);
  Status count_change(NodeId directory, std::string_view name);
  Status count_bytes(NodeId id, int64_t size);
  void add_name(NodeId directory, std::string_view name, NodeId id);
  void sort_names();
  void touch(NodeId directory) { inventory_.at(directory).set(Node::kStale); }
  [[nodiscard]] bool inherits(NodeId directory) const;
  Status failure();
  Error not_made(std::string_view tried, NodeId directory, std::string_view name) const;
  Error refuse(NodeId directory, std::string_view name, const char* why) const;

  int root_;
  ReceiveOptions options_;
  Inventory inventory_;
  DirectoryHandles handles_;
  WriteLanes lanes_;
  NodeWriter writer_;
  uint16_t round_ = 1;
  bool lost_and_found_ = false;  // an empty one is there that no entry has taken over
  bool transit_ = false;         // the transit directory is there
  int64_t bytes_ = 0;            // all files' sizes
  int64_t entries_ = 1;
  int64_t made_ = 0;              // nodes, whatever became of them
  int64_t changes_ = 0;           // new names, likewise
  SpillVector<NodeId> unsorted_;  // directories with names that are not in order yet
  std::unordered_map<NodeId, Large> large_;
  SpillSet<NodeId> detached_;
  bool flags_wait_ = false;  // some are to be set when all else is right
};

}  // namespace transship::transfer
