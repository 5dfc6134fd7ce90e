#include "transfer/stream_writer.h"

#include <algorithm>

namespace transship::transfer {
namespace {

constexpr size_t kBatch = 256 << 10;

}  // namespace

StreamWriter::StreamWriter(Sink& sink, const SendOptions& options)
    : sink_(sink), options_(options), buffer_(kBatch) {}

Status StreamWriter::write(Bytes data) {
  while (!data.empty()) {
    const MutableBytes free = space();
    const size_t part = std::min(free.size(), data.size());
    std::copy_n(data.begin(), part, free.begin());
    TRANSSHIP_TRY(filled(part));
    data = data.subspan(part);
  }
  return {};
}

Status StreamWriter::write_zeros(size_t count) {
  while (count > 0) {
    const MutableBytes free = space();
    const size_t part = std::min(free.size(), count);
    std::fill_n(free.begin(), part, std::byte{0});
    TRANSSHIP_TRY(filled(part));
    count -= part;
  }
  return {};
}

Status StreamWriter::filled(size_t count) {
  used_ += count;
  return used_ < buffer_.size() ? Status() : finish();
}

Status StreamWriter::finish() {
  if (used_ == 0) return {};
  TRANSSHIP_TRY(options_.until.check("send the volume"));
  if (options_.limiter != nullptr) {
    TRANSSHIP_TRY(options_.limiter->take(static_cast<int64_t>(used_), options_.until));
  }
  TRANSSHIP_TRY(sink_.write(Bytes(buffer_).first(used_)));
  used_ = 0;
  return {};
}

}  // namespace transship::transfer
