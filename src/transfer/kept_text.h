// KeptText: texts that stay where they are for as long as it lives.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "transfer/spill.h"

namespace transship::transfer {

class KeptText {
 public:
  KeptText() = default;
  KeptText(KeptText&& other) noexcept { swap(other); }
  KeptText& operator=(KeptText&& other) noexcept {
    KeptText(std::move(other)).swap(*this);
    return *this;
  }
  ~KeptText() {
    for (const auto& [text, size] : pieces_) SpillAllocator<char>().deallocate(text, size);
  }
  KeptText(const KeptText&) = delete;
  KeptText& operator=(const KeptText&) = delete;

  // The copy.
  std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    if (text.size() > left_) {
      left_ = std::max(kPiece, text.size());
      next_ = SpillAllocator<char>().allocate(left_);
      pieces_.emplace_back(next_, left_);
    }
    char* const kept = next_;
    text.copy(kept, text.size());
    next_ += text.size();
    left_ -= text.size();
    return {kept, text.size()};
  }

 private:
  static constexpr size_t kPiece = size_t{64} << 10U;

  void swap(KeptText& other) noexcept {
    pieces_.swap(other.pieces_);
    std::swap(next_, other.next_);
    std::swap(left_, other.left_);
  }

  std::vector<std::pair<char*, size_t>> pieces_;
  char* next_ = nullptr;
  size_t left_ = 0;  // in the last piece
};

}  // namespace transship::transfer
