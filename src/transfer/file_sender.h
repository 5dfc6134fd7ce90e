// FileSender: reads and hashes files by two threads, and writes them as operations to the frames.
#pragma once

#include <atomic>
#include <vector>

#include "transfer/batch_workers.h"
#include "transfer/directory_handles.h"
#include "transfer/frames.h"
#include "transfer/project_ids.h"
#include "transfer/wire.h"

namespace transship::transfer {

// A node that the receiver does not have, or has otherwise, perhaps; neither directory nor another
// name.
struct FileItem {
  NodeId id = kRootNode;
  Node* node = nullptr;
  NodeId directory = kRootNode;
  std::string_view name;
  DirectoryHandle handle;
};

class FileSender {
 public:
  struct Options {
    bool final = false;  // what is not as it was when it was looked at is an error (kConflict)
    int64_t block = 0;   // bytes (BlockMap)
    ProjectIds projects;
    XattrScope xattrs = XattrScope::kVolume;
    Until until;
    Progress* progress = nullptr;
    bool on_disk = false;  // there is a page cache to be left as it is (PageCacheTrace)
  };

  // All must outlive it. Nobody else touches an item's node, or the names of the inventory, before
  // finish() has returned.
  FileSender(const Inventory& inventory, FrameWriter& out, const Options& options);

  // Waits while too many are queued.
  Status add(FileItem item);

  // Waits for all. What was sent, or is the same, has none of the flags any more; what was gone
  // still has.
  Status finish() { return workers_.finish(); }
  // How many items there was something to send of; after finish().
  [[nodiscard]] int64_t sent() const { return sent_; }

 private:
  class Worker;

  const Inventory& inventory_;
  FrameWriter& out_;
  const Options options_;
  std::atomic<int64_t> sent_ = 0;
  std::atomic<int> busy_ = 0;  // threads
  BatchWorkers<FileItem> workers_;
};

// Up to this many bytes a file goes as one operation.
inline constexpr int64_t kSmallFile = 256 << 10;

}  // namespace transship::transfer
