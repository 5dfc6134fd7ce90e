#include "transfer/frames.h"

#include <algorithm>
#include <array>
#include <span>

#include "transfer/frame_compression.h"

namespace transship::transfer {
namespace {

constexpr size_t kMessageLimit = size_t{1} << 20;
constexpr std::string_view kTheirFailure = "the other mover failed: ";
constexpr int64_t kLookAtLinkEvery = int64_t{256} << 10;  // bytes

Status read_exactly(TlsStream& stream, char* to, size_t size) {
  while (size > 0) {
    auto got = stream.read(std::as_writable_bytes(std::span(to, size)));
    if (!got.ok()) return got.error();
    if (*got == 0) return Error{ErrorCode::kCorrupt, "the session ended in the middle"};
    to += *got;
    size -= *got;
  }
  return {};
}

std::string head_of(FrameKind kind, size_t payload) {
  std::string head;
  put_number(head, payload + 1);
  return head += static_cast<char>(kind);
}

}  // namespace

void put_number(std::string& out, size_t number) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(number >> shift & 0xFFU);
}

size_t get_number(std::string_view in) {
  size_t number = 0;
  for (size_t i = 0; i < 4; ++i) number = number << 8U | static_cast<unsigned char>(in[i]);
  return number;
}

class FrameMemory::Kept {
 public:
  static constexpr size_t kSize = size_t{320} << 10U;  // what most large frames have room in
  static constexpr size_t kMost = 32;

  std::unique_ptr<char[]> take() EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      if (!free_.empty()) {
        auto memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    return std::make_unique_for_overwrite<char[]>(kSize);
  }
  void give(std::unique_ptr<char[]> memory) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (free_.size() < kMost) free_.push_back(std::move(memory));
  }

 private:
  Mutex mutex_;
  std::vector<std::unique_ptr<char[]>> free_ GUARDED_BY(mutex_);
};

FrameMemory::FrameMemory() : kept_(std::make_shared<Kept>()) {}

std::shared_ptr<char[]> FrameMemory::take(size_t size) const {
  constexpr size_t kSmall = size_t{32} << 10U;  // the allocator keeps those itself
  if (size <= kSmall || size > Kept::kSize) return {std::make_unique_for_overwrite<char[]>(size)};
  return {kept_->take().release(),
          [kept = kept_](char* memory) { kept->give(std::unique_ptr<char[]>(memory)); }};
}

Result<Frame> read_frame(TlsStream& stream, const FrameMemory& memory) {
  std::array<char, kFrameHead> head{};
  TRANSSHIP_TRY(read_exactly(stream, head.data(), head.size()));
  const size_t size = get_number({head.data(), 4});
  if (size == 0 || size > kLargestFrame)
    return Error{ErrorCode::kCorrupt, "a session frame of " + std::to_string(size) + " bytes"};
  Frame frame;
  frame.kind = static_cast<FrameKind>(head[4]);
  frame.size = size - 1;
  frame.data = memory.take(frame.size);
  TRANSSHIP_TRY(read_exactly(stream, frame.data.get(), frame.size));
  return frame;
}

Result<Message> parse_message(const Frame& frame) {
  if (frame.size > kMessageLimit)
    return Error{ErrorCode::kCorrupt,
                 "a session message of " + std::to_string(frame.size) + " bytes"};
  Message message;
  message.kind = frame.kind;
  const std::string_view body = frame.payload();
  for (size_t at = 0; at < body.size();) {
    if (body.size() - at < 4) return Error{ErrorCode::kCorrupt, "a session message is cut off"};
    const size_t length = get_number(body.substr(at, 4));
    at += 4;
    if (body.size() - at < length)
      return Error{ErrorCode::kCorrupt, "a session message is cut off"};
    message.fields.emplace_back(body.substr(at, length));
    at += length;
  }
  return message;
}

std::string message_body(const std::vector<std::string>& fields) {
  std::string body;
  for (const std::string& field : fields) {
    put_number(body, field.size());
    body += field;
  }
  return body;
}

Status write_frame(TlsStream& stream, FrameKind kind, std::string_view payload) {
  TRANSSHIP_TRY(stream.write(as_bytes(head_of(kind, payload.size()))));
  return stream.write(as_bytes(payload));
}

Status write_message(TlsStream& stream, const Message& message) {
  TRANSSHIP_TRY(write_frame(stream, message.kind, message_body(message.fields)));
  return stream.flush();
}

Error failure_of(const Message& message) {
  ErrorCode code = ErrorCode::kInternal;
  if (!message.fields.empty()) {
    for (int i = 0; i <= static_cast<int>(ErrorCode::kCorrupt); ++i) {
      if (to_string(static_cast<ErrorCode>(i)) == message.fields[0])
        code = static_cast<ErrorCode>(i);
    }
  }
  return {code, std::string(kTheirFailure) +
                    (message.fields.size() > 1 ? message.fields[1] : "no reason given")};
}

Result<Message> await(TlsStream& stream, FrameKind wanted) {
  for (;;) {
    auto frame = read_frame(stream);
    if (!frame.ok()) return frame.error();
    auto message = parse_message(*frame);
    if (!message.ok()) return message.error();
    if (message->kind == FrameKind::kStillAlive) continue;
    if (message->kind == FrameKind::kFailed) return failure_of(*message);
    if (message->kind == wanted) return message;
    return Error{ErrorCode::kCorrupt, "an unexpected session message"};
  }
}

Error fail(TlsStream& stream, const Error& error, const Until& until) {
  constexpr auto kPatience = std::chrono::seconds(5);
  stream.set_until({until.stop, Until::Clock::now() + kPatience});
  (void)write_message(
      stream,
      {FrameKind::kFailed, {std::string(to_string(error.code)), error.message.substr(0, 4096)}});
  if (!stream.close().ok()) return error;
  std::vector<std::byte> unread(size_t{64} << 10U);
  for (;;) {
    const auto got = stream.read(unread);
    if (!got.ok() || *got == 0) return error;
  }
}

bool to_count(const std::string& text, int64_t& number) {
  if (text.empty() || text.size() > 18) return false;
  number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    number = number * 10 + (c - '0');
  }
  return true;
}

void FrameWriter::use(TlsStream& stream) {
  const MutexLock lock(mutex_);
  stream_ = &stream;
  failed_ = {};
}

void FrameWriter::go_on(RateLimiter* limiter, const Until& until) {
  const MutexLock lock(mutex_);
  limiter_ = limiter;
  until_ = until;
}

Status FrameWriter::write(FrameKind kind, std::string_view payload) {
  if (auto packed = compressor_.pack(kind, payload, kFrameHead))
    return write_plain(FrameKind::kPacked, *packed);
  const MutexLock lock(mutex_);
  return send(as_bytes(head_of(kind, payload.size())), as_bytes(payload));
}

// Packed by the thread that has it, before it waits for its turn.
Status FrameWriter::write_whole(FrameKind kind, std::string& frame) {
  const std::string_view payload = std::string_view(frame).substr(kFrameHead);
  if (auto packed = compressor_.pack(kind, payload, kFrameHead))
    return write_plain(FrameKind::kPacked, *packed);
  return write_plain(kind, frame);
}

Status FrameWriter::write_plain(FrameKind kind, std::string& frame) {
  frame.replace(0, kFrameHead, head_of(kind, frame.size() - kFrameHead));
  const MutexLock lock(mutex_);
  if (kind == FrameKind::kPacked) packed_ += static_cast<int64_t>(frame.size());
  return send({}, as_bytes(frame));
}

Status FrameWriter::send(Bytes head, Bytes payload) {
  // Threads after the first would only hear that the connection is broken.
  if (!failed_) return failed_;
  const auto began = std::chrono::steady_clock::now();
  Status sent = send_now(head, payload);
  if (!sent) failed_ = sent;
  sending_ += std::chrono::steady_clock::now() - began;
  if (sent_ >= kLookAtLinkEvery) look_at_link();
  return sent;
}

Status FrameWriter::send_now(Bytes head, Bytes payload) {
  TRANSSHIP_TRY(until_.check("send the volume"));
  if (stream_->readable()) {
    auto heard = await(*stream_, FrameKind::kFailed);
    return heard.ok() ? Error{ErrorCode::kCorrupt, "an unexpected session message"} : heard.error();
  }
  const auto size = static_cast<int64_t>(head.size() + payload.size());
  if (limiter_ != nullptr) TRANSSHIP_TRY(limiter_->take(size, until_));
  written_ += size;
  sent_ += size;
  if (!head.empty()) TRANSSHIP_TRY(stream_->write(head));
  return stream_->write(payload);
}

// As fast as the bytes go that nobody had to pack first. Packed ones may come too slowly to fill
// the link: they can only show that it is faster. What the kernel says is known earlier, before the
// socket's buffers are full, but may be of a burst.
void FrameWriter::look_at_link() {
  const auto now = std::chrono::steady_clock::now();
  const auto seconds = [](auto time) { return std::chrono::duration<double>(time).count(); };
  const auto bytes = static_cast<double>(sent_);
  if (2 * packed_ < sent_) {
    link_ = bytes / std::max(1e-9, seconds(sending_));
  } else {
    link_ = std::max(link_, bytes / std::max(1e-9, seconds(now - looked_)));
  }
  const double kernel = stream_->delivery_rate();
  compressor_.set_link(kernel > 0 ? std::min(link_, kernel) : link_);
  sent_ = packed_ = 0;
  sending_ = {};
  looked_ = now;
}

Status FrameWriter::flush() {
  const MutexLock lock(mutex_);
  return stream_->flush();
}

int64_t FrameWriter::written() {
  const MutexLock lock(mutex_);
  return written_;
}

}  // namespace transship::transfer
