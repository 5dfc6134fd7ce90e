#include "transfer/frame_compression.h"

#include <zstd.h>

#include <memory>

namespace transship::transfer {
namespace {

constexpr int kLevel = 1;
constexpr size_t kSmallest = 1024;    // bytes of a payload; TLS and the link do not notice less
constexpr size_t kPackedHead = 5;     // the kind and the size, as a frame's head has them
constexpr int64_t kSampleEvery = 64;  // frames, where packing does not pay
constexpr int64_t kFirstSamples = 4;
constexpr double kWeight = 0.125;  // of the newest sample
constexpr double kMargin = 2;      // the time that is saved, to that spent
constexpr double kWorth = 0.97;    // of its size; else the receiver is spared the unpacking

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

ZSTD_CCtx* packing() {
  static thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  return context.get();
}

ZSTD_DCtx* unpacking() {
  static thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  return context.get();
}

bool of_operations(FrameKind kind) {
  return kind == FrameKind::kDirectories || kind == FrameKind::kNames || kind == FrameKind::kNodes;
}

}  // namespace

std::optional<std::string> FrameCompressor::pack(FrameKind kind, std::string_view payload,
                                                 size_t room) {
  if (mode_ == Compression::kNone || payload.size() < kSmallest || !of_operations(kind) ||
      !wanted())
    return std::nullopt;
  const auto began = std::chrono::steady_clock::now();
  std::string out(room, '\0');
  out += static_cast<char>(kind);
  put_number(out, payload.size());
  const size_t head = out.size();
  out.resize(head + ZSTD_compressBound(payload.size()));
  const size_t size = ZSTD_compressCCtx(packing(), out.data() + head, out.size() - head,
                                        payload.data(), payload.size(), kLevel);
  if (ZSTD_isError(size) != 0) return std::nullopt;
  out.resize(head + size);
  learn(payload.size(), size, std::chrono::steady_clock::now() - began);
  const bool smaller =
      static_cast<double>(size + kPackedHead) < kWorth * static_cast<double>(payload.size());
  return smaller ? std::optional(std::move(out)) : std::nullopt;
}

bool FrameCompressor::wanted() {
  const MutexLock lock(mutex_);
  const int64_t number = frames_++;
  return mode_ == Compression::kZstd || number < kFirstSamples || number % kSampleEvery == 0 ||
         pays_now();
}

bool FrameCompressor::pays() {
  const MutexLock lock(mutex_);
  return pays_now();
}

// With the margin: where both times are about the same, the link is none that is waited for, and
// the processor has better things to do.
bool FrameCompressor::pays_now() const {
  return link_ > 0 && kMargin * seconds_a_byte_ < (1 - ratio_) / link_;
}

void FrameCompressor::learn(size_t raw, size_t packed, std::chrono::nanoseconds took) {
  const auto bytes = static_cast<double>(raw);
  const double seconds = std::chrono::duration<double>(took).count() / bytes;
  const double ratio = static_cast<double>(packed) / bytes;
  const MutexLock lock(mutex_);
  const double weight = seconds_a_byte_ > 0 ? kWeight : 1;
  seconds_a_byte_ += weight * (seconds - seconds_a_byte_);
  ratio_ += weight * (ratio - ratio_);
}

void FrameCompressor::set_link(double bytes_per_second) {
  const MutexLock lock(mutex_);
  link_ = bytes_per_second;
}

Result<Frame> unpack(const Frame& packed, const FrameMemory& memory) {
  const auto refuse = [](const char* why) {
    return Error{ErrorCode::kCorrupt, std::string("a packed session frame: ") + why};
  };
  const std::string_view payload = packed.payload();
  if (payload.size() <= kPackedHead) return refuse("it is cut off");
  Frame frame;
  frame.kind = static_cast<FrameKind>(payload[0]);
  frame.size = get_number(payload.substr(1, 4));
  if (!of_operations(frame.kind)) return refuse("it has no operations");
  if (frame.size >= kLargestFrame) return refuse("it is larger than frames are");
  frame.data = memory.take(frame.size);
  const size_t size =
      ZSTD_decompressDCtx(unpacking(), frame.data.get(), frame.size, payload.data() + kPackedHead,
                          payload.size() - kPackedHead);
  if (ZSTD_isError(size) != 0 || size != frame.size) return refuse("it is not what it says");
  return frame;
}

}  // namespace transship::transfer
