// TreeWriter: creates a stream's entries beneath one directory and nowhere else, whatever the
// stream says: names one by one from held descriptors, always new ones, never followed.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "transfer/entry.h"

namespace transship::transfer {

class TreeWriter {
 public:
  // `root` is held by the caller and may be O_PATH. `projects`: project ids are carried.
  TreeWriter(int root, size_t max_path, bool projects);
  ~TreeWriter();

  // kPreconditionFailed unless the root is empty but for an empty lost+found. Takes away what
  // entries would inherit from it.
  Status begin();

  // Every entry's directory must be there already, and once left it stays left: the entries come
  // depth first. kCorrupt for paths that are none of a tree, double ones, and targets of hard links
  // that are not there.
  Result<UniqueFd> create_file(const Entry& entry);
  // The file's metadata, after its content.
  Status finish_file(const Entry& entry, int file);
  Status create_other(const Entry& entry);  // directories, links, FIFOs, devices, sockets

  // Lets later entries be hard links to the one created last. `index` is given back.
  Status remember_linkable(const Entry& entry, size_t index);
  // Returns the index of the target.
  Result<size_t> create_link(const std::string& path, const std::string& target);

  // Sets the metadata of all directories still open, and of the root; then the flags that forbid
  // changes.
  Status finish(const Entry& root);

 private:
  struct Directory;
  struct Locked {
    std::string path;
    EntryKind kind = EntryKind::kRegular;
    InodeAttributes attributes;
  };
  struct Linkable {
    uint64_t inode = 0;
    size_t index = 0;
  };

  // Leaves directories until the path's own is on top; its last component.
  Result<std::string> descend(const std::string& path);
  Status create_directory(const Entry& entry, const std::string& name);
  Status create_node(const Entry& entry, const std::string& name);
  Status leave();
  void remember_locked(const Entry& entry);
  Status lock_all();

  int root_;
  size_t max_path_;
  bool projects_;
  bool lost_and_found_ = false;  // an empty one is there that no entry has taken over
  std::vector<std::unique_ptr<Directory>> open_;
  std::unordered_map<std::string, Linkable> linkable_;
  std::vector<Locked> locked_;  // what is to be
};

}  // namespace transship::transfer
