// SharedCounters: the engine's counters of several volumes in memory that a mover and its copier
// both have. What the other end writes there is a number, and nothing more.
#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "transfer/tree.h"

namespace transship::mover {

// The engine's counters of one volume; the memory stays as long as any of them.
using Counters = std::shared_ptr<transfer::Progress>;

class SharedCounters {
 public:
  SharedCounters() = default;
  static Result<SharedCounters> make(size_t volumes);
  // Those of the other end. kCorrupt where it is not such memory.
  static Result<SharedCounters> map(UniqueFd memory, size_t volumes);

  [[nodiscard]] int descriptor() const { return memory_.get(); }
  [[nodiscard]] Counters at(size_t volume) const;

 private:
  UniqueFd memory_;
  std::shared_ptr<transfer::Progress[]> all_;
};

}  // namespace transship::mover
