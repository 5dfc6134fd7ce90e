// CraftedStream: a stream with right checksums and digests around entries that no sender would
// send.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "transfer/entry_header.h"
#include "transfer/manifest.h"

namespace transship::transfer {

// An entry with a mode, an owner and a time.
Entry entry_at(const std::string& path, EntryKind kind);

class CraftedStream {
 public:
  // Regular files get `content`.
  void add(Entry entry, const std::string& content = "");
  void add_linkable(Entry entry, const std::string& content);
  // A hard link to an entry added before, or to anything else.
  void add_link(const std::string& path, const std::string& target);
  // A header as it is, then bytes.
  void add_raw(EntryHeader header, const std::string& data);

  // Adds the end record; the whole stream.
  const std::string& finish();
  // The same, after somebody has changed the end record.
  const std::string& finish(const std::function<void(EntryHeader&)>& change);

 private:
  void add_header(EntryHeader header);

  std::string bytes_;
  Sha256 headers_;
  Manifest manifest_;
  std::optional<Sha256::Digest> previous_;
  int64_t entries_ = 1;
  int64_t total_ = 0;
};

}  // namespace transship::transfer
