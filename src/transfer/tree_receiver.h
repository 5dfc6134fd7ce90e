// TreeReceiver: one stream into one directory, everything in it checked.
#pragma once

#include <optional>

#include "transfer/project_ids.h"
#include "transfer/stream_reader.h"
#include "transfer/tree.h"
#include "transfer/tree_writer.h"

namespace transship::transfer {

class TreeReceiver {
 public:
  TreeReceiver(int root, Source& source, const ReceiveOptions& options)
      : root_(root),
        options_(options),
        in_(source, options_),
        out_(root, options.limits.path_bytes, options.projects) {
    manifest_.projects = options.projects;
  }

  Result<Received> run();

 private:
  Status receive(const EntryHeader& header);
  Status receive_file(const EntryHeader& header);
  Status receive_data(const EntryHeader& header, int file);
  Status receive_range(const Entry& entry, int file, const Extent& extent);
  // The SHA-256 of the file before, which its successor's header has.
  Status check_previous(const EntryHeader& header);
  // The header's, which become those that the target is to have.
  Status take_projects(EntryHeader& header);
  Status count(const EntryHeader& header);
  Result<Received> receive_end(const EntryHeader& header);
  Status skip(int64_t count);  // a hole

  int root_;
  ReceiveOptions options_;
  StreamReader in_;
  TreeWriter out_;
  Manifest manifest_;
  ProjectIds projects_;
  TreeTotals totals_;
  Sha256 content_;
  std::optional<Sha256::Digest> previous_;
  std::string previous_path_;
};

}  // namespace transship::transfer
