// NodeTable: an inventory's nodes, by number. References to them stay valid.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "transfer/spill.h"

namespace transship::transfer {

template <typename Node>
class NodeTable {
 public:
  NodeTable() = default;
  NodeTable(NodeTable&& other) noexcept
      : pieces_(std::exchange(other.pieces_, {})), size_(std::exchange(other.size_, 0)) {}
  NodeTable& operator=(NodeTable&& other) noexcept {
    if (this == &other) return *this;
    clear();
    pieces_ = std::exchange(other.pieces_, {});
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~NodeTable() { clear(); }
  NodeTable(const NodeTable&) = delete;
  NodeTable& operator=(const NodeTable&) = delete;

  Node& operator[](size_t number) { return pieces_[number / kPiece][number % kPiece]; }
  const Node& operator[](size_t number) const { return pieces_[number / kPiece][number % kPiece]; }
  [[nodiscard]] size_t size() const { return size_; }

  void add() {
    if (size_ == pieces_.size() * kPiece)
      pieces_.push_back(SpillAllocator<Node>().allocate(kPiece));
    new (&(*this)[size_]) Node;
    ++size_;
  }

 private:
  static constexpr size_t kPiece = 8192;  // some 900 KB

  void clear() {
    for (size_t i = 0; i < size_; ++i) (*this)[i].~Node();
    for (Node* piece : pieces_) SpillAllocator<Node>().deallocate(piece, kPiece);
    pieces_.clear();
    size_ = 0;
  }

  std::vector<Node*> pieces_;
  size_t size_ = 0;
};

}  // namespace transship::transfer
