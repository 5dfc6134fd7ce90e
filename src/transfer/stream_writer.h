// StreamWriter: gathers a stream's bytes and hands them to a sink 256 KiB at a time, at the
// limiter's rate.
#pragma once

#include <vector>

#include "base/result.h"
#include "transfer/tree.h"

namespace transship::transfer {

class StreamWriter {
 public:
  // `sink` and what `options` points to must outlive it.
  StreamWriter(Sink& sink, const SendOptions& options);

  Status write(Bytes data);
  Status write(std::string_view text) { return write(as_bytes(text)); }
  Status write_zeros(size_t count);

  // To read into without a copy: at least one byte; filled(n) says how many came.
  [[nodiscard]] MutableBytes space() { return MutableBytes(buffer_).subspan(used_); }
  Status filled(size_t count);

  // Hands over what is left.
  Status finish();

 private:
  Sink& sink_;
  const SendOptions& options_;
  std::vector<std::byte> buffer_;
  size_t used_ = 0;
};

}  // namespace transship::transfer
