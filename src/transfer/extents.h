// The data ranges of a sparse file, found with lseek(2) SEEK_DATA and carried as GNU.sparse 1.0
// (GNU tar manual, "Storing Sparse Files, PAX Format, Version 1.0").
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace transship::transfer {

struct Extent {
  int64_t offset = 0;
  int64_t length = 0;
  [[nodiscard]] int64_t end() const { return offset + length; }
  bool operator==(const Extent&) const = default;
};

inline constexpr size_t kMaxExtents = 1'000'000;  // files with more go as if they had no holes

// The ranges of a file of `size` bytes that hold data; all of it in one where it has no holes,
// where the file system cannot tell, or where there are too many.
Result<std::vector<Extent>> find_extents(int fd, int64_t size, const std::string& path);

// Whether that is a file without holes.
bool is_dense(const std::vector<Extent>& extents, int64_t size);

int64_t data_bytes(std::span<const Extent> extents);

// The map as it precedes the data, padded to whole tar blocks; ends with an empty range at `size`
// where the file ends with a hole.
std::string encode_sparse_map(const std::vector<Extent>& extents, int64_t size);

// Takes the map apart as its blocks come. kCorrupt unless the ranges are ascending, apart and
// within the size, and the map is as encode_sparse_map writes it.
class SparseMapParser {
 public:
  SparseMapParser(int64_t size, size_t max_extents) : size_(size), max_extents_(max_extents) {}
  Status add(std::string_view block);
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] const std::vector<Extent>& extents() const { return extents_; }

 private:
  Status take_number(int64_t number);
  Status finish();

  int64_t size_;
  size_t max_extents_;
  std::string text_;  // everything, to be compared in the end
  size_t parsed_ = 0;
  int64_t count_ = -1;   // the ranges announced
  int64_t offset_ = -1;  // of a range whose length has not come yet
  bool done_ = false;
  std::vector<Extent> extents_;
};

}  // namespace transship::transfer
