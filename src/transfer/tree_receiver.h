// TreeReceiver: one stream into one tree (docs/stream.md). Everything is made below held descriptors
// of directories that this very receiver has made, under names that were not there before.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.h"
#include "transfer/entry_header.h"
#include "transfer/stream_reader.h"
#include "transfer/tree.h"

namespace transship::transfer {

class TreeReceiver {
 public:
  TreeReceiver(int root, Source& source, const ReceiveOptions& options)
      : root_(root), options_(options), in_(source, options_) {}

  Result<Received> run();

 private:
  // A directory whose content is coming; its own metadata is set when it is left.
  struct Directory {
    UniqueFd fd;  // not valid while too many below it are open
    Entry entry;
    uint64_t inode = 0;
  };

  Status open_root();
  Status take_over_lost_and_found();
  Status check_previous(const EntryHeader& header);
  Status check_bounds(const EntryHeader& header);
  Status receive(EntryHeader& header);
  Status go_to_parent(const std::string& path, std::string& name);
  Status leave_directory();
  Status make_directory(const EntryHeader& header, const std::string& name);
  Status make_file(const EntryHeader& header, const std::string& name);
  Status receive_data(const EntryHeader& header, int file);
  Status make_link(const EntryHeader& header, const std::string& name);
  Status make_other(const EntryHeader& header, const std::string& name);
  Result<UniqueFd> open_parent_of(const std::string& path, std::string& name);
  Status finish(const EntryHeader& header);
  void count(int64_t bytes);
  [[nodiscard]] int top() const { return open_.back().fd.get(); }

  int root_;
  ReceiveOptions options_;
  StreamReader in_;
  Manifest manifest_;
  TreeTotals totals_;
  std::vector<Directory> open_;                       // from the root down
  std::unordered_map<std::string, size_t> linkable_;  // path -> index in the manifest
  std::optional<Sha256::Digest> content_;             // of the file that came last, not confirmed yet
  uint64_t groups_ = 0;
  bool lost_and_found_ = false;  // an empty one is there, as a fresh file system has it
  Summary summary_;
};

}  // namespace transship::transfer
