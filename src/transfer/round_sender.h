// RoundSender: what changed in one volume since the last round, as operations (docs/rounds.md).
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "transfer/file_sender.h"
#include "transfer/source_tree.h"

namespace transship::transfer {

// What a round found and sent.
struct RoundTotals {
  int64_t bytes = 0;                  // over the wire
  int64_t entries = 0;                // nodes and names that were sent
  std::chrono::nanoseconds looked{};  // the time that the walk over all entries took
};

class RoundSender {
 public:
  // `root` and `out` must outlive it. `projects`: project ids are carried.
  RoundSender(int root, FrameWriter& out, bool projects, XattrScope xattrs = XattrScope::kVolume)
      : source_(root), out_(out), root_(root), projects_{projects}, xattrs_(xattrs) {}

  // What the receiver says of its root's project id (0: none), at the beginning of each connection.
  Status take_target_project(uint32_t project);

  // From now on the receiver has this, and nothing else.
  void resume(Inventory held);

  // One round, without the frames around it. A final one is kConflict where something changes while
  // it is read.
  Result<RoundTotals> send(bool final, const Until& until, Progress* progress);

  // After a final round: kConflict where anything is not as it was sent.
  Status check_unchanged(const Until& until) { return source_.check_unchanged(until); }

  // After a final round: of what the receiver should have now.
  [[nodiscard]] Summary summary() { return source_.inventory().summary(); }

 private:
  // A name, where a node is that several lead to.
  struct Place {
    NodeId directory = kRootNode;
    std::string_view name;
    bool fresh = false;
  };

  void show_held(Progress& progress);
  Status send_names();
  Status lose_name(const NameChange& change);
  Status remove_directory(const NameChange& change);
  Status make_directories();
  Status add_names();
  Status send_files(FileSender& files);
  Status queue_files(NodeId directory, SpillVector<FileItem> found, FileSender& files);
  [[nodiscard]] Status gone_meanwhile(const Error& error) const;
  Status send_links();
  Status send_directories();
  Status change_name(Op op, NodeId node, NodeId directory, std::string_view name);
  Status link(NodeId node, NodeId directory, std::string_view name, const Place& there);
  Status added(FrameKind kind);  // an operation; all so far are of that kind
  Status flush(FrameKind kind);

  SourceTree source_;
  FrameWriter& out_;
  std::optional<DirectoryHandles> handles_;  // this round's
  int root_;
  ProjectIds projects_;
  bool met_ = false;  // projects_.source is known
  XattrScope xattrs_;
  bool final_ = false;
  bool resumed_ = false;                    // and no round since
  std::string pending_;                     // operations not written yet
  SpillVector<NodeId> directories_;         // all, each before those in it
  SpillMap<NodeId, uint32_t> added_names_;  // how many a node got
  SpillSet<const char*> added_texts_;       // their texts
  SpillSet<NodeId> detached_;
  SpillMap<NodeId, Place> standing_;  // where those are that get names
  SpillMap<NodeId, Place> queued_;    // nodes of several names
  SpillVector<NameChange> links_;     // further names of new nodes
  int64_t entries_ = 0;
};

}  // namespace transship::transfer
