// TreeSender: one tree into one stream (docs/stream.md).
#pragma once

#include <optional>
#include <vector>

#include "transfer/entry_header.h"
#include "transfer/extents.h"
#include "transfer/stream_writer.h"
#include "transfer/tree.h"
#include "transfer/tree_walk.h"

namespace transship::transfer {

class TreeSender {
 public:
  TreeSender(int root, Sink& sink, const SendOptions& options)
      : root_(root), options_(options), out_(sink, options_) {}

  Result<Summary> run();

 private:
  // The first name that was met of an inode with several.
  struct Link {
    size_t first = 0;   // in the manifest
    uint32_t more = 0;  // names not met yet, here or outside the tree
  };

  Status send(const WalkedEntry& walked);
  Status send_file(const WalkedEntry& walked);
  Status send_data(const WalkedEntry& walked, int file, const std::vector<Extent>& extents);
  Status send_range(const WalkedEntry& walked, int file, const Extent& extent);
  Status skip(int64_t count);  // a hole
  Status send_other(const WalkedEntry& walked);
  Status send_link(const WalkedEntry& walked, Link& link);
  Status send_header(EntryHeader& header);
  Status remember(const WalkedEntry& walked, const Entry& entry);
  // Walks again: nothing may have changed between its reading and now.
  Status check_nothing_changed();
  Result<Summary> send_end();
  void count_entry();

  int root_;
  SendOptions options_;
  StreamWriter out_;
  Sha256 headers_;
  Sha256 content_;
  std::optional<Sha256::Digest> previous_;  // of the file whose data went last
  Manifest manifest_;
  size_t last_ = 0;  // the manifest's entry sent last
  TreeTotals totals_;
  SpillMap<uint64_t, Link> links_;      // by inode
  SpillVector<uint64_t> fingerprints_;  // of every entry's stat, in the walk's order
  Entry root_entry_;
  uint32_t volume_project_ = 0;  // until the first header has it
};

}  // namespace transship::transfer
