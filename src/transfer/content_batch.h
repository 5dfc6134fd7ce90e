// ContentBatch: contents of small files, read one after the other and then hashed together
// (sha256_batch.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "transfer/sha256.h"

namespace transship::transfer {

class ContentBatch {
 public:
  // Adds the file's first bytes, as many as it has, `wanted` at most. False: errno says why not,
  // and nothing is added.
  [[nodiscard]] bool read(int file, size_t wanted);
  // Of all that were added. Nothing is before clear().
  void hash();
  void clear();

  [[nodiscard]] size_t size() const { return parts_.size(); }
  [[nodiscard]] size_t length(size_t index) const { return parts_[index].length; }
  // After hash(), until clear().
  [[nodiscard]] std::string_view content(size_t index) const { return contents_[index]; }
  [[nodiscard]] const Sha256::Digest& digest(size_t index) const { return digests_[index]; }

 private:
  struct Part {
    size_t offset = 0;
    size_t length = 0;
  };

  std::string bytes_;  // as large as any batch was
  size_t used_ = 0;
  std::vector<Part> parts_;
  std::vector<std::string_view> contents_;
  std::vector<Sha256::Digest> digests_;
};

}  // namespace transship::transfer
