// StreamReader: the parts of a stream from a source, checked for form but not yet for sense. It
// never reads past the stream's end, so that something else may follow in the source.
#pragma once

#include <vector>

#include "base/result.h"
#include "transfer/entry_header.h"
#include "transfer/extents.h"
#include "transfer/tree.h"

namespace transship::transfer {

class StreamReader {
 public:
  // `source` must outlive it.
  StreamReader(Source& source, const ReceiveOptions& options);

  Result<EntryHeader> read_header();

  // The map that precedes a sparse file's data.
  Result<std::vector<Extent>> read_sparse_map(const EntryHeader& header);

  // Some of the file's data, between one byte and `left`, valid until the next call.
  Result<Bytes> read_data(int64_t left);

  // The padding after `stored` bytes of map and data.
  Status read_padding(int64_t stored);

  // The two zero blocks after the end record.
  Status read_end();

 private:
  // The next `count` bytes. At least `after` more are known to follow and may be read ahead.
  Result<Bytes> take(size_t count, size_t after);
  Status read_zeros(size_t count, size_t after);
  Status fill(size_t count, size_t after);

  Source& source_;
  const ReceiveOptions& options_;
  Sha256 headers_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;  // what was read and not yet taken
  size_t end_ = 0;
};

}  // namespace transship::transfer
