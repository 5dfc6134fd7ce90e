// Compression of the sender's frames by zstd, one by one, and its undoing at the receiver.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "transfer/frames.h"

namespace transship::transfer {

enum class Compression {
  kAuto,  // where the link is slow enough for it, and the data allow it
  kNone,
  kZstd,  // always tried; what does not become smaller goes as it is
};

// Decides for each frame, by any thread. Whether it pays follows from what the link delivers, and
// from how long packing took lately and what it came to; so some frames are packed now and then
// also where it does not pay.
class FrameCompressor {
 public:
  explicit FrameCompressor(Compression mode) : mode_(mode) {}

  // What goes instead of a frame with this payload: the payload of one of kPacked, behind `room`
  // bytes. Nullopt where the frame goes as it is.
  std::optional<std::string> pack(FrameKind kind, std::string_view payload, size_t room)
      EXCLUDES(mutex_);

  // What the link delivers, bytes a second; 0: not known.
  void set_link(double bytes_per_second) EXCLUDES(mutex_);

  // For tests: whether the next frame is packed for what it saves.
  [[nodiscard]] bool pays() EXCLUDES(mutex_);

 private:
  bool wanted() EXCLUDES(mutex_);
  [[nodiscard]] bool pays_now() const REQUIRES(mutex_);
  void learn(size_t raw, size_t packed, std::chrono::nanoseconds took) EXCLUDES(mutex_);

  const Compression mode_;
  Mutex mutex_;
  double link_ GUARDED_BY(mutex_) = 0;            // bytes a second
  double seconds_a_byte_ GUARDED_BY(mutex_) = 0;  // of packing
  double ratio_ GUARDED_BY(mutex_) = 1;           // packed to raw
  int64_t frames_ GUARDED_BY(mutex_) = 0;
};

// The frame that is in one of kPacked. kCorrupt for any but one of operations, or of more than
// kLargestFrame bytes, or of other than it says: no more memory is taken than for a plain one.
Result<Frame> unpack(const Frame& packed, const FrameMemory& memory);

}  // namespace transship::transfer
