#include "transfer/block_map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

namespace transship::transfer {

BlockDigest block_digest(Bytes block) {
  const XXH128_hash_t hash = XXH3_128bits(block.data(), block.size());
  return {hash.low64, hash.high64};
}

int64_t block_size_for(int64_t volume_bytes) {
  constexpr int64_t kMostBlocks = int64_t{4} << 20;
  int64_t block = 4096;
  constexpr int64_t kLargestBlock = int64_t{1} << 20;  // several must fit into a frame
  while (block < kLargestBlock && volume_bytes / block > kMostBlocks) block *= 2;
  return block;
}

namespace {

// The first extent that ends after `offset`.
std::span<const Extent>::iterator reaching(std::span<const Extent> extents, int64_t offset) {
  return std::partition_point(extents.begin(), extents.end(),
                              [&](const Extent& extent) { return extent.end() <= offset; });
}

}  // namespace

bool was_data(std::span<const Extent> extents, int64_t offset, int64_t length) {
  const auto found = reaching(extents, offset);
  return found != extents.end() && found->offset <= offset && offset + length <= found->end();
}

std::vector<Extent> intersection(std::span<const Extent> extents, const Extent& range) {
  std::vector<Extent> parts;
  if (range.length <= 0) return parts;
  for (auto at = reaching(extents, range.offset); at != extents.end() && at->offset < range.end();
       ++at) {
    const int64_t begin = std::max(at->offset, range.offset);
    parts.push_back({begin, std::min(at->end(), range.end()) - begin});
  }
  return parts;
}

void clear_holes(std::span<const Extent> extents, const Extent& range, char* bytes) {
  int64_t position = range.offset;
  for (const Extent& data : intersection(extents, range)) {
    std::fill(bytes + (position - range.offset), bytes + (data.offset - range.offset), '\0');
    position = data.end();
  }
  std::fill(bytes + (position - range.offset), bytes + range.length, '\0');
}

}  // namespace transship::transfer
