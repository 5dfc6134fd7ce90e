// Frames: what a session consists of: a length (4 bytes, big endian), a letter for the kind and a
// payload. Small ones have fields and are called messages.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "transfer/rate_limiter.h"
#include "transfer/tls.h"

namespace transship::transfer {

class FrameCompressor;

enum class FrameKind : char {
  // Messages.
  kHeader = 'H',
  kAccepted = 'A',
  kStillAlive = 'L',
  kVolume = 'N',     // a volume's part of a round begins
  kVolumeEnd = 'E',  // and ends
  kRoundEnd = 'Z',
  kTaken = 'R',  // a round that is not the last is on disk and was read back
  kVerified = 'V',
  kAgreed = 'G',
  kFailed = 'F',
  // Operations (wire.h).
  kDirectories = 'D',  // only new directories
  kNames = 'S',
  kNodes = 'B',
  kHeld = 'O',    // the receiver's
  kPacked = 'Y',  // one of operations (frame_compression.h)
};

inline constexpr size_t kFrameHead = 5;  // bytes
// 4 bytes, big endian.
void put_number(std::string& out, size_t number);
size_t get_number(std::string_view in);
inline constexpr size_t kLargestFrame = size_t{4} << 20U;

class Frame {
 public:
  FrameKind kind = FrameKind::kFailed;
  [[nodiscard]] std::string_view payload() const { return {data.get(), size}; }

  std::shared_ptr<char[]> data;
  size_t size = 0;
};

// Memory of frames that are done with, for those that come: fresh pages cost about as much as what
// is decrypted into them. Frames may outlive it, and go on any thread.
class FrameMemory {
 public:
  FrameMemory();
  [[nodiscard]] std::shared_ptr<char[]> take(size_t size) const;

 private:
  class Kept;
  std::shared_ptr<Kept> kept_;
};

struct Message {
  FrameKind kind = FrameKind::kFailed;
  std::vector<std::string> fields;
};

Result<Frame> read_frame(TlsStream& stream, const FrameMemory& memory = {});
Result<Message> parse_message(const Frame& frame);
std::string message_body(const std::vector<std::string>& fields);
// Gathered, where it is small.
Status write_frame(TlsStream& stream, FrameKind kind, std::string_view payload);
Status write_message(TlsStream& stream, const Message& message);
inline constexpr uint32_t kSessionVersion = 7;

// What the other end said with kFailed.
Error failure_of(const Message& message);

// The next message that is not a sign of life. A failure at the other end is returned as an error.
Result<Message> await(TlsStream& stream, FrameKind wanted);

// Tells the other end why, as far as it still listens, and returns the error. What the other end
// still sends is read away for a while: closing over unread data would reset the connection and
// could lose the reason.
Error fail(TlsStream& stream, const Error& error, const Until& until);

// Decimal digits only.
bool to_count(const std::string& text, int64_t& number);

// The sender's frames, by any of its threads, at the limiter's rate. A receiver that fails says why
// at any time: it is looked for before every frame.
class FrameWriter {
 public:
  // `compressor` must outlive it.
  FrameWriter(RateLimiter* limiter, Until until, FrameCompressor& compressor)
      : compressor_(compressor), limiter_(limiter), until_(std::move(until)) {}

  // Before anything else, and once a connection has broken: over another one.
  void use(TlsStream& stream) EXCLUDES(mutex_);
  void go_on(RateLimiter* limiter, const Until& until) EXCLUDES(mutex_);  // with others than before

  Status write(FrameKind kind, std::string_view payload) EXCLUDES(mutex_);
  // A frame whose first kFrameHead bytes are room for its head, which is filled in.
  Status write_whole(FrameKind kind, std::string& frame) EXCLUDES(mutex_);
  Status flush() EXCLUDES(mutex_);
  [[nodiscard]] int64_t written() EXCLUDES(mutex_);  // bytes, ever

 private:
  Status write_plain(FrameKind kind, std::string& frame) EXCLUDES(mutex_);
  Status send(Bytes head, Bytes payload) REQUIRES(mutex_);
  Status send_now(Bytes head, Bytes payload) REQUIRES(mutex_);
  void look_at_link() REQUIRES(mutex_);

  FrameCompressor& compressor_;
  Mutex mutex_;
  // Since the link was looked at last.
  int64_t sent_ GUARDED_BY(mutex_) = 0;    // bytes
  int64_t packed_ GUARDED_BY(mutex_) = 0;  // of them
  std::chrono::steady_clock::duration sending_ GUARDED_BY(mutex_){};
  std::chrono::steady_clock::time_point looked_ GUARDED_BY(mutex_);
  double link_ GUARDED_BY(mutex_) = 0;  // bytes a second
  TlsStream* stream_ GUARDED_BY(mutex_) = nullptr;
  RateLimiter* limiter_ GUARDED_BY(mutex_);
  Until until_ GUARDED_BY(mutex_);
  int64_t written_ GUARDED_BY(mutex_) = 0;
  Status failed_ GUARDED_BY(mutex_);
};

}  // namespace transship::transfer
