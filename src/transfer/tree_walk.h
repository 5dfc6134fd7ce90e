// TreeWalk: every entry of a tree, depth first, directories before what is in them and the root
// last; by descriptors only, of which at most 64 are open however deep the tree is.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "transfer/until.h"

namespace transship::transfer {

struct WalkedEntry {
  const std::string& path;  // "." or "./a/b"
  const std::string& name;  // in `parent`
  int parent = -1;          // the open directory it is in; -1 for the root
  int directory = -1;       // the open directory it is; -1 for all others
  struct statx stat {};
};

class TreeWalk {
 public:
  using Visit = std::function<Status(const WalkedEntry&)>;

  struct Options {
    // An entry that vanishes or a directory that changes is an error (kConflict) where true, and
    // passed over where false.
    bool strict = true;
    Until until{};
    std::string_view doing = "read the volume";  // for messages
    // Subvolumes are walked into, as other directories are.
    bool subvolumes = false;
    // Called for each directory but the root when all in it has been visited; may be null. `parent`
    // is open, `directory` is not.
    std::function<Status(const WalkedEntry&)> on_left = nullptr;
  };

  // `root` is held by the caller and may be O_PATH.
  TreeWalk(int root, Options options);
  ~TreeWalk();
  TreeWalk(const TreeWalk&) = delete;
  TreeWalk& operator=(const TreeWalk&) = delete;

  // Calls `visit` for every entry until it fails. kInvalid for a mount point inside.
  Status run(const Visit& visit);

 private:
  struct Directory;
  Status enter(UniqueFd fd, const struct statx& stat, const std::string& name);
  Status leave();
  Status visit_next(const Visit& visit);
  Status visit_entry(const Visit& visit, const struct statx& stat, const std::string& name);
  Status read_names(Directory& directory) const;
  Status reopen(Directory& directory, int child) const;
  [[nodiscard]] Status gone(const Error& error) const;

  int root_;
  Options options_;
  std::string path_ = ".";  // of the directory on top, then of the entry being visited
  std::vector<std::unique_ptr<Directory>> open_;
};

}  // namespace transship::transfer
