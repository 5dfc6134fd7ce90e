#include "transfer/extents.h"

#include <unistd.h>

#include <cerrno>

#include "transfer/entry.h"
#include "transfer/pax.h"
#include "transfer/ustar.h"

namespace transship::transfer {
namespace {

std::vector<Extent> all_of(int64_t size) {
  if (size == 0) return {};
  return {{0, size}};
}

}  // namespace

Result<std::vector<Extent>> find_extents(int fd, int64_t size, const std::string& path) {
  std::vector<Extent> extents;
  int64_t position = 0;
  while (position < size) {
    const off_t data = ::lseek(fd, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole follows
    if (data < 0 && errno == EINVAL && position == 0) return all_of(size);
    if (data < 0) return path_error("find the holes of", path, errno);
    if (data >= size) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return path_error("find the holes of", path, errno);
    if (extents.size() == kMaxExtents) return all_of(size);
    const int64_t end = std::min<int64_t>(hole, size);
    extents.push_back({data, end - data});
    position = end;
  }
  return extents;
}

bool is_dense(const std::vector<Extent>& extents, int64_t size) { return extents == all_of(size); }

int64_t data_bytes(std::span<const Extent> extents) {
  int64_t bytes = 0;
  for (const Extent& extent : extents) bytes += extent.length;
  return bytes;
}

std::string encode_sparse_map(const std::vector<Extent>& extents, int64_t size) {
  const bool hole_at_end = extents.empty() || extents.back().end() < size;
  std::string text = std::to_string(extents.size() + (hole_at_end ? 1 : 0)) + "\n";
  for (const Extent& extent : extents) {
    text += std::to_string(extent.offset) + "\n" + std::to_string(extent.length) + "\n";
  }
  if (hole_at_end) text += std::to_string(size) + "\n0\n";
  text.append(tar_padding(static_cast<int64_t>(text.size())), '\0');
  return text;
}

Status SparseMapParser::add(std::string_view block) {
  text_ += block;
  while (!done_) {
    const size_t newline = text_.find('\n', parsed_);
    if (newline == std::string::npos) break;
    int64_t number = 0;
    if (!parse_decimal(std::string_view(text_).substr(parsed_, newline - parsed_), number)) {
      return Error{ErrorCode::kCorrupt, "its sparse map is malformed"};
    }
    parsed_ = newline + 1;
    TRANSSHIP_TRY(take_number(number));
  }
  if (!done_ && text_.size() - parsed_ > 20) {
    return Error{ErrorCode::kCorrupt, "its sparse map is malformed"};
  }
  return {};
}

Status SparseMapParser::take_number(int64_t number) {
  if (count_ < 0) {
    if (number < 1 || static_cast<uint64_t>(number) > max_extents_ + 1) {
      return Error{ErrorCode::kCorrupt, "its sparse map has too many ranges, or none"};
    }
    count_ = number;
  } else if (offset_ < 0) {
    const int64_t least = extents_.empty() ? 0 : extents_.back().end();
    if (number < least || number > size_) {
      return Error{ErrorCode::kCorrupt, "its sparse map is out of order or out of bounds"};
    }
    offset_ = number;
  } else {
    if (number > size_ - offset_) {
      return Error{ErrorCode::kCorrupt, "its sparse map is out of bounds"};
    }
    extents_.push_back({offset_, number});
    offset_ = -1;
    if (static_cast<int64_t>(extents_.size()) == count_) return finish();
  }
  return {};
}

Status SparseMapParser::finish() {
  done_ = true;
  if (extents_.back() == Extent{size_, 0}) extents_.pop_back();
  if (encode_sparse_map(extents_, size_) != text_) {
    return Error{ErrorCode::kCorrupt, "its sparse map is not as it must be"};
  }
  return {};
}

}  // namespace transship::transfer
