// PageCacheTrace: what reading a file leaves in the page cache: what was there before, and no more.
// The source's application goes on finding its own pages.
#pragma once

#include <cstdint>
#include <vector>

namespace transship::transfer {

class PageCacheTrace {
 public:
  PageCacheTrace() = default;  // of a file in memory, which is its own cache

  // Before anything is read: looks what is there, and asks the kernel for the rest of a small file.
  // `file` must stay open as long as it. Where the kernel cannot tell (before Linux 6.5) all counts
  // as having been there, and stays.
  PageCacheTrace(int file, int64_t size);

  // All before `position` has been read, and what was not there before is let go.
  void passed(int64_t position);
  void finish() { passed(size_); }

 private:
  [[nodiscard]] bool was_there(int64_t piece) const;
  void let_go(int64_t end);

  int file_ = -1;  // -1: there is nothing to let go
  int64_t size_ = 0;
  int64_t begin_ = 0;        // of what has been read and was not there
  int64_t piece_ = 0;        // the next to be passed
  std::vector<bool> there_;  // by piece; empty: nothing was
};

}  // namespace transship::transfer
