// NodeWriter: makes and changes single nodes of the receiver's volume, as its threads do.
#pragma once

#include <memory>

#include "transfer/directory_handles.h"
#include "transfer/entry_metadata.h"
#include "transfer/wire.h"

namespace transship::transfer {

// A large file that comes in pieces. Its first job opens it.
struct OpenFile {
  UniqueFd fd;
};

struct WriteJob {
  Op op = Op::kNewFile;
  const Node* node = nullptr;  // with the metadata to be set, where the operation sets any
  NodeId directory = kRootNode;
  std::string_view name;
  DirectoryHandle handle;          // of the directory; not for pieces of a large file
  std::shared_ptr<OpenFile> file;  // large files
  Opening opening = Opening::kNew;
  bool inherits = false;  // new nodes take something over from the directory (set-group-ID, ACLs)
  std::string_view content;
  int64_t offset = 0;
  int64_t length = 0;  // of a hole; of a large file that is opened, its size
};

class NodeWriter {
 public:
  // `projects`: project ids are carried.
  NodeWriter(bool projects, XattrScope xattrs);
  [[nodiscard]] Written run(const WriteJob& job) const;
  // All of a directory's metadata, exactly; not yet the flags that forbid changes.
  [[nodiscard]] Written settle(int directory, const Node& node) const;

 private:
  [[nodiscard]] Written new_file(const WriteJob& job) const;
  [[nodiscard]] Written new_node(const WriteJob& job) const;
  [[nodiscard]] Written open_large(const WriteJob& job) const;
  [[nodiscard]] Written set_all(int fd, const Node& node) const;
  [[nodiscard]] Written set_all(int directory, const std::string& name, const Node& node) const;

  bool projects_;
  XattrScope xattrs_;
  uint32_t umask_;
  uint32_t uid_;
  uint32_t gid_;
};

}  // namespace transship::transfer
