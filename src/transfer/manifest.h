// Manifest: what a tree holds, entry by entry, for the volume digest (docs/volume-digest.md) and
// for comparing what was sent with what is on disk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transfer/sha256.h"
#include "transfer/spill.h"

namespace transship::transfer {

struct Entry;
enum class EntryKind : char;

struct ManifestEntry {
  SpillString record;        // as the recipe's first find prints it, without the final NUL
  uint32_t path_length = 0;  // the record begins with the path: ".", "./a/b"
  bool regular = false;
  Sha256::Digest content{};     // regular files
  Sha256::Digest attributes{};  // over size, device number and all attributes
  uint64_t link_group = 0;      // not 0: the entries of one inode with several names share it

  [[nodiscard]] std::string_view path() const {
    return std::string_view(record).substr(0, path_length);
  }
};

// What the recipe's find prints of an entry after its path (%T@: the nanoseconds and a zero).
std::string find_record_tail(EntryKind kind, uint32_t permissions, uint32_t uid, uint32_t gid,
                             int64_t mtime_seconds, uint32_t mtime_nanoseconds,
                             std::string_view link_target);

class Manifest {
 public:
  bool projects = true;  // project ids are compared

  // Adds an entry; returns its index. `link_group` as in ManifestEntry.
  size_t add(const Entry& entry, uint64_t link_group);
  // Adds one more name of the inode of entry `first`, all else as there.
  size_t add_link(size_t first, const std::string& path);
  void set_content(size_t index, const Sha256::Digest& content) {
    entries_[index].content = content;
  }

  // Puts the entries in the recipe's order (by record); indexes change. Do it once, when all are
  // in.
  void sort();

  // "sha256:…"; of a sorted manifest.
  [[nodiscard]] std::string digest() const;

  // OK where the other (sorted, too) holds the same; else kCorrupt with the first paths that differ
  // and what about them does.
  [[nodiscard]] Status compare(const Manifest& found) const;

  [[nodiscard]] const SpillVector<ManifestEntry>& entries() const { return entries_; }

 private:
  SpillVector<ManifestEntry> entries_;
};

}  // namespace transship::transfer
