#include "transfer/page_cache.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

namespace transship::transfer {
namespace {

constexpr int64_t kPiece = 256 << 10;
constexpr int64_t kStep = 8 << 20;  // so much may be there that will be let go
constexpr int64_t kSmall = kPiece;
constexpr long kCachestat = 451;  // cachestat(2); the C library does not know it yet

struct Range {
  uint64_t offset = 0;
  uint64_t length = 0;  // 0: to the end
};

struct CacheState {
  uint64_t cached = 0;  // pages
  uint64_t dirty = 0;
  uint64_t in_writeback = 0;
  uint64_t evicted = 0;
  uint64_t recently_evicted = 0;
};

// Pages of the range that are there.
std::optional<int64_t> cached_pages(int file, int64_t offset, int64_t length) {
  Range range{static_cast<uint64_t>(offset), static_cast<uint64_t>(length)};
  CacheState state;
  if (::syscall(kCachestat, file, &range, &state, 0) < 0) return std::nullopt;
  return static_cast<int64_t>(state.cached);
}

}  // namespace

PageCacheTrace::PageCacheTrace(int file, int64_t size) : size_(size) {
  if (size <= 0) return;
  const auto cached = cached_pages(file, 0, 0);
  if (!cached) return;
  static const int64_t kPage = ::sysconf(_SC_PAGESIZE);
  if (*cached >= (size + kPage - 1) / kPage) return;
  if (size > kSmall) {
    ::posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
  } else if (*cached == 0) {
    ::posix_fadvise(file, 0, 0, POSIX_FADV_WILLNEED);
  } else {
    return;  // of a small file that was read in part, the rest may stay
  }
  file_ = file;
  if (*cached == 0) return;
  for (int64_t at = 0; at < size; at += kPiece)
    there_.push_back(cached_pages(file, at, kPiece).value_or(1) > 0);
}

bool PageCacheTrace::was_there(int64_t piece) const {
  const auto index = static_cast<size_t>(piece);
  return index < there_.size() && there_[index];
}

void PageCacheTrace::passed(int64_t position) {
  if (file_ < 0) return;
  for (; piece_ * kPiece < position && std::min((piece_ + 1) * kPiece, size_) <= position;
       ++piece_) {
    if (!was_there(piece_)) continue;
    let_go(piece_ * kPiece);
    begin_ = (piece_ + 1) * kPiece;
  }
  if (position >= size_ || position - begin_ >= kStep) let_go(position);
}

// From `begin_` on, which stays: a folio of the cache that goes beyond the end is let go with what
// follows it.
void PageCacheTrace::let_go(int64_t end) {
  if (end > begin_) ::posix_fadvise(file_, begin_, end - begin_, POSIX_FADV_DONTNEED);
  if (end - begin_ >= 2 * kStep) begin_ = end - kStep;
}

}  // namespace transship::transfer
