// BlockMap: which blocks of a large file held what when they were sent, to find those that changed.
// The digests only tell old from new (XXH3, 128 bits); what arrives is judged by SHA-256.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "transfer/byte_stream.h"
#include "transfer/extents.h"
#include "transfer/sha256.h"
#include "transfer/spill.h"

namespace transship::transfer {

struct BlockDigest {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const BlockDigest&) const = default;
};

BlockDigest block_digest(Bytes block);

struct BlockMap {
  int64_t block = 0;  // bytes; 0: nothing is known
  SpillVector<BlockDigest> digests;
  SpillVector<Extent> extents;  // where data were, and no holes
};

// A file as it was, by its content's SHA-256.
struct MappedContent : Spilled {
  MappedContent(const Sha256::Digest& digest, BlockMap map)
      : content(digest), blocks(std::move(map)) {}

  Sha256::Digest content{};
  BlockMap blocks;
};

// Bytes a block for the files of a volume of that many bytes: 4 KiB, and more for volumes beyond
// 16 GiB, so that all its digests together take 64 MiB at most; 1 MiB in those beyond 4 TiB.
int64_t block_size_for(int64_t volume_bytes);

// Whether all of [offset, offset + length) was data.
bool was_data(std::span<const Extent> extents, int64_t offset, int64_t length);

// What of the range is in `extents`.
std::vector<Extent> intersection(std::span<const Extent> extents, const Extent& range);

// Zeros in what of the range is not in `extents`; its bytes begin at `bytes`.
void clear_holes(std::span<const Extent> extents, const Extent& range, char* bytes);

}  // namespace transship::transfer
