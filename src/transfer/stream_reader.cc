#include "transfer/stream_reader.h"

#include <algorithm>
#include <cstring>

namespace transship::transfer {
namespace {

constexpr size_t kBuffer = 256 << 10;
constexpr size_t kEnd = 2 * kTarBlock;           // the zero blocks
constexpr size_t kLeast = 3 * kTarBlock + kEnd;  // what follows an entry at least: the end record

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

UstarBlock as_block(Bytes bytes) {
  UstarBlock block;
  std::memcpy(block.data(), bytes.data(), block.size());
  return block;
}

bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

StreamReader::StreamReader(Source& source, const ReceiveOptions& options)
    : source_(source), options_(options), buffer_(kBuffer) {}

Result<EntryHeader> StreamReader::read_header() {
  auto first = take(kTarBlock, kLeast - kTarBlock);
  if (!first) return first.error();
  auto size = extended_header_size(as_block(*first));
  if (!size) return size.error();
  if (*size < 1 || static_cast<uint64_t>(*size) > options_.limits.header_bytes) {
    return Error{ErrorCode::kCorrupt,
                 "a pax header has " + std::to_string(*size) + " bytes; at most " +
                     std::to_string(options_.limits.header_bytes) + " are taken"};
  }
  const auto records = static_cast<size_t>(*size);
  const size_t padding = tar_padding(*size);
  auto rest = take(records + padding + kTarBlock, kEnd);
  if (!rest) return rest.error();
  if (!all_zero(rest->subspan(records, padding))) {
    return Error{ErrorCode::kCorrupt, "a pax header's padding is not zero"};
  }
  return decode_entry_header(as_text(rest->first(records)),
                             as_block(rest->subspan(records + padding)), headers_);
}

Result<std::vector<Extent>> StreamReader::read_sparse_map(const EntryHeader& header) {
  SparseMapParser parser(header.entry.size, options_.limits.extents);
  int64_t left = header.stored_bytes;
  while (!parser.done()) {
    if (left < static_cast<int64_t>(kTarBlock)) {
      return corrupt(header.entry.path, "its sparse map is longer than its data");
    }
    auto block = take(kTarBlock, kLeast);
    if (!block) return block.error();
    headers_.update(*block);
    const Status taken = parser.add(as_text(*block));
    if (!taken) return corrupt(header.entry.path, taken.error().message);
    left -= static_cast<int64_t>(kTarBlock);
  }
  if (data_bytes(parser.extents()) != left) {
    return corrupt(header.entry.path, "its sparse map and its data do not fit");
  }
  return parser.extents();
}

Result<Bytes> StreamReader::read_data(int64_t left) {
  // A small file in one piece, a big one in pieces worth a write(2).
  const auto part = static_cast<size_t>(std::min<int64_t>(left, kBuffer));
  const bool last = left <= static_cast<int64_t>(kBuffer);
  if (end_ - begin_ < part) TRANSSHIP_TRY(fill(part, last ? kLeast : 0));
  const Bytes data = Bytes(buffer_).subspan(begin_, part);
  begin_ += part;
  return data;
}

Status StreamReader::read_padding(int64_t stored) {
  return read_zeros(tar_padding(stored), kLeast);
}

Status StreamReader::read_end() { return read_zeros(kEnd, 0); }

Status StreamReader::read_zeros(size_t count, size_t after) {
  if (count == 0) return {};
  auto bytes = take(count, after);
  if (!bytes) return bytes.error();
  if (!all_zero(*bytes)) return Error{ErrorCode::kCorrupt, "the stream's padding is not zero"};
  return {};
}

Result<Bytes> StreamReader::take(size_t count, size_t after) {
  if (end_ - begin_ < count) TRANSSHIP_TRY(fill(count, after));
  const Bytes bytes = Bytes(buffer_).subspan(begin_, count);
  begin_ += count;
  return bytes;
}

Status StreamReader::fill(size_t count, size_t after) {
  TRANSSHIP_TRY(options_.until.check("receive the volume"));
  std::copy(buffer_.begin() + static_cast<ptrdiff_t>(begin_),
            buffer_.begin() + static_cast<ptrdiff_t>(end_), buffer_.begin());
  end_ -= begin_;
  begin_ = 0;
  if (buffer_.size() < count + after) buffer_.resize(count + after);
  while (end_ < count) {
    auto n = source_.read(MutableBytes(buffer_).subspan(end_, count + after - end_));
    if (!n) return n.error();
    if (*n == 0) {
      return Error{ErrorCode::kCorrupt, "the stream ends before its end record: it was cut off"};
    }
    end_ += *n;
  }
  return {};
}

}  // namespace transship::transfer
