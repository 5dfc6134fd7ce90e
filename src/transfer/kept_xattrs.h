// KeptXattrs: a node's extended attributes in one piece of memory.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "transfer/entry.h"
#include "transfer/spill.h"

namespace transship::transfer {

class KeptXattrs {
 public:
  KeptXattrs& operator=(std::span<const Xattr> xattrs);
  void clear() { text_ = SpillString(); }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  [[nodiscard]] std::vector<Xattr> read() const;
  [[nodiscard]] bool has(std::string_view name) const;
  bool operator==(const KeptXattrs&) const = default;
  bool operator==(const std::vector<Xattr>& xattrs) const;

 private:
  SpillString text_;  // each one's name and value, with their lengths before them
};

}  // namespace transship::transfer
