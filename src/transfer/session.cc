#include "transfer/session.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <future>
#include <thread>

#include "transfer/entry.h"

namespace transship::transfer {
namespace {

constexpr size_t kMessageLimit = size_t{1} << 20;
constexpr uint32_t kVersion = 1;
constexpr auto kAlive = std::chrono::seconds(5);
constexpr std::string_view kTheirFailure = "the other mover failed: ";

// A message: its length (big endian, 4 bytes), a letter for its kind, and fields, each a length
// (4 bytes) and its bytes.
enum class Kind : char {
  kHeader = 'H',
  kAccepted = 'A',
  kStillAlive = 'L',
  kVerified = 'V',
  kAgreed = 'G',
  kFailed = 'F',
};

struct Message {
  Kind kind = Kind::kFailed;
  std::vector<std::string> fields;
};

void put_number(std::string& out, size_t number) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(number >> shift & 0xFFU);
}

size_t get_number(std::string_view in) {
  size_t number = 0;
  for (size_t i = 0; i < 4; ++i) number = number << 8U | static_cast<unsigned char>(in[i]);
  return number;
}

Status write_message(TlsStream& stream, const Message& message) {
  std::string body(1, static_cast<char>(message.kind));
  for (const std::string& field : message.fields) {
    put_number(body, field.size());
    body += field;
  }
  std::string out;
  put_number(out, body.size());
  TRANSSHIP_TRY(stream.write(as_bytes(out + body)));
  return stream.flush();
}

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

Result<Message> read_message(TlsStream& stream) {
  std::array<char, 4> head{};
  TRANSSHIP_TRY(read_exactly(stream, head.data(), head.size()));
  const size_t size = get_number({head.data(), head.size()});
  if (size == 0 || size > kMessageLimit)
    return Error{ErrorCode::kCorrupt, "a session message of " + std::to_string(size) + " bytes"};
  std::string body(size, '\0');
  TRANSSHIP_TRY(read_exactly(stream, body.data(), size));
  Message message;
  message.kind = static_cast<Kind>(body[0]);
  for (size_t at = 1; at < size;) {
    if (size - at < 4) return Error{ErrorCode::kCorrupt, "a session message is cut off"};
    const size_t length = get_number(std::string_view(body).substr(at, 4));
    at += 4;
    if (size - at < length) return Error{ErrorCode::kCorrupt, "a session message is cut off"};
    message.fields.push_back(body.substr(at, length));
    at += length;
  }
  return message;
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

// Tells the other end why, as far as it still listens, and returns the error. What the other end
// still sends is read away for a while: closing over unread data would reset the connection and
// could lose the reason.
Error fail(TlsStream& stream, const Error& error, const Until& until) {
  constexpr auto kPatience = std::chrono::seconds(5);
  stream.set_until({until.stop, Until::Clock::now() + kPatience});
  (void)write_message(
      stream, {Kind::kFailed, {std::string(to_string(error.code)), error.message.substr(0, 4096)}});
  if (!stream.close().ok()) return error;
  std::vector<std::byte> unread(size_t{64} << 10U);
  for (;;) {
    const auto got = stream.read(unread);
    if (!got.ok() || *got == 0) return error;
  }
}

// The next message that is not a sign of life. A failure at the other end is returned as an error.
Result<Message> await(TlsStream& stream, Kind wanted) {
  for (;;) {
    auto message = read_message(stream);
    if (!message.ok()) return message.error();
    if (message->kind == Kind::kStillAlive) continue;
    if (message->kind == Kind::kFailed) return failure_of(*message);
    if (message->kind == wanted) return message;
    return Error{ErrorCode::kCorrupt, "an unexpected session message"};
  }
}

Message header_of(const SessionIdentity& identity, const std::vector<SessionVolume>& volumes) {
  Message header{
      Kind::kHeader,
      {std::to_string(kVersion), identity.migration_uid, std::to_string(identity.epoch)}};
  for (const SessionVolume& volume : volumes) {
    header.fields.push_back(volume.name);
    header.fields.push_back(std::to_string(volume.announced.bytes));
    header.fields.push_back(std::to_string(volume.announced.entries));
  }
  return header;
}

Message outcome_message(const std::vector<VolumeOutcome>& outcomes) {
  Message message{Kind::kVerified, {}};
  for (const VolumeOutcome& outcome : outcomes) {
    message.fields.push_back(outcome.name);
    message.fields.push_back(outcome.verified.digest);
    message.fields.push_back(std::to_string(outcome.verified.totals.bytes));
    message.fields.push_back(std::to_string(outcome.verified.totals.entries));
  }
  return message;
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

// The connection while volumes go out on it: a receiver says nothing then, unless it has failed.
class WatchedSink final : public Sink {
 public:
  explicit WatchedSink(TlsStream& stream) : stream_(stream) {}
  Status write(Bytes data) override {
    if (stream_.readable()) return reason();
    Status written = stream_.write(data);
    // A write that broke may have its reason waiting: the receiver says why before it closes.
    if (!written.ok() && stream_.readable()) {
      Status said = reason();
      if (said.error().message.starts_with(kTheirFailure)) return said;
    }
    return written;
  }

 private:
  Status reason() {
    auto message = await(stream_, Kind::kFailed);
    return message.ok() ? failure_of(*message) : message.error();
  }
  TlsStream& stream_;
};

Result<std::vector<VolumeOutcome>> send_all(TlsStream& stream,
                                            const std::vector<SessionVolume>& volumes,
                                            const SessionOptions& options) {
  std::vector<VolumeOutcome> outcomes;
  WatchedSink sink(stream);
  for (const SessionVolume& volume : volumes) {
    const SendOptions how{options.until, volume.progress, options.limiter};
    auto sent = send_tree(volume.directory, sink, how);
    if (!sent.ok()) return sent.error().during("volume " + volume.name);
    outcomes.push_back({volume.name, *sent, {}});
  }
  TRANSSHIP_TRY(stream.flush());
  return outcomes;
}

Status take_verified(const Message& message, std::vector<VolumeOutcome>& outcomes) {
  if (message.fields.size() != outcomes.size() * 4)
    return Error{ErrorCode::kCorrupt, "the receiver verified other volumes"};
  for (size_t i = 0; i < outcomes.size(); ++i) {
    VolumeOutcome& outcome = outcomes[i];
    const std::string* field = &message.fields[i * 4];
    outcome.verified.digest = field[1];
    if (field[0] != outcome.name || !to_count(field[2], outcome.verified.totals.bytes) ||
        !to_count(field[3], outcome.verified.totals.entries)) {
      return Error{ErrorCode::kCorrupt, "the receiver verified other volumes"};
    }
    if (outcome.verified.digest != outcome.sent.digest ||
        !(outcome.verified.totals == outcome.sent.totals)) {
      return Error{ErrorCode::kCorrupt, "volume " + outcome.name + ": sent " + outcome.sent.digest +
                                            ", read back " + outcome.verified.digest};
    }
  }
  return {};
}

}  // namespace

Result<std::vector<VolumeOutcome>> send_session(TlsStream& stream, const SessionIdentity& identity,
                                                const std::vector<SessionVolume>& volumes,
                                                const SessionOptions& options) {
  stream.set_until(options.until);
  TRANSSHIP_TRY(write_message(stream, header_of(identity, volumes)));
  auto accepted = await(stream, Kind::kAccepted);
  if (!accepted.ok()) return accepted.error();
  auto outcomes = send_all(stream, volumes, options);
  if (!outcomes.ok()) return outcomes.error();
  if (options.on_sent) options.on_sent();
  auto verified = await(stream, Kind::kVerified);
  if (!verified.ok()) return verified.error();
  if (const Status equal = take_verified(*verified, *outcomes); !equal.ok())
    return fail(stream, equal.error(), options.until);
  TRANSSHIP_TRY(write_message(stream, {Kind::kAgreed, {}}));
  TRANSSHIP_TRY(stream.close());
  return outcomes;
}

namespace {

// The header's volumes in the sender's order, as indexes into `volumes`.
Result<std::vector<size_t>> check_header(const Message& header, const SessionIdentity& identity,
                                         const std::vector<SessionVolume>& volumes) {
  const auto& fields = header.fields;
  const auto refuse = [](const std::string& why) {
    return Error{ErrorCode::kForbidden, "session refused: " + why};
  };
  if (fields.size() < 3 || fields[0] != std::to_string(kVersion))
    return refuse("another version of the protocol");
  if (fields[1] != identity.migration_uid || fields[2] != std::to_string(identity.epoch)) {
    return refuse("another migration or epoch");
  }
  if (fields.size() != 3 + volumes.size() * 3) return refuse("another set of volumes");
  std::vector<size_t> order;
  for (size_t i = 3; i < fields.size(); i += 3) {
    const auto found =
        std::find_if(volumes.begin(), volumes.end(),
                     [&](const SessionVolume& volume) { return volume.name == fields[i]; });
    const auto index = static_cast<size_t>(found - volumes.begin());
    int64_t bytes = 0;
    int64_t entries = 0;
    if (found == volumes.end() || std::find(order.begin(), order.end(), index) != order.end() ||
        !to_count(fields[i + 1], bytes) || !to_count(fields[i + 2], entries)) {
      return refuse("another set of volumes");
    }
    if (found->progress != nullptr) {
      found->progress->announced_bytes = bytes;
      found->progress->announced_entries = entries;
    }
    order.push_back(index);
  }
  return order;
}

// Verifies while the sender hears a sign of life every few seconds, so that neither gives up.
Result<Summary> verify_alive(TlsStream& stream, const SessionVolume& volume,
                             const Manifest& manifest, const SessionOptions& options) {
  auto verifying = std::async(std::launch::async, [&] {
    return verify_tree(volume.directory, manifest, options.until, volume.progress);
  });
  Status heard;
  while (verifying.wait_for(kAlive) != std::future_status::ready) {
    if (heard.ok()) heard = write_message(stream, {Kind::kStillAlive, {}});
  }
  auto verified = verifying.get();
  if (!verified.ok()) return verified;
  if (!heard.ok()) return heard.error();
  return verified;
}

Result<std::vector<VolumeOutcome>> receive_all(TlsStream& stream,
                                               const std::vector<SessionVolume>& volumes,
                                               const std::vector<size_t>& order,
                                               const SessionOptions& options) {
  std::vector<VolumeOutcome> outcomes;
  std::vector<Manifest> manifests;
  for (const size_t index : order) {
    const SessionVolume& volume = volumes[index];
    ReceiveOptions how;
    how.until = options.until;
    how.progress = volume.progress;
    how.limits = options.limits;
    auto received = receive_tree(volume.directory, stream, how);
    if (!received.ok()) return received.error().during("volume " + volume.name);
    outcomes.push_back({volume.name, received->summary, {}});
    manifests.push_back(std::move(received->manifest));
  }
  for (size_t i = 0; i < order.size(); ++i) {
    auto verified = verify_alive(stream, volumes[order[i]], manifests[i], options);
    if (!verified.ok()) return verified.error().during("volume " + outcomes[i].name);
    outcomes[i].verified = *verified;
  }
  return outcomes;
}

}  // namespace

Result<std::vector<VolumeOutcome>> receive_session(TlsStream& stream,
                                                   const SessionIdentity& identity,
                                                   const std::vector<SessionVolume>& volumes,
                                                   const SessionOptions& options) {
  stream.set_until(options.until);
  auto header = await(stream, Kind::kHeader);
  if (!header.ok()) return header.error();
  auto order = check_header(*header, identity, volumes);
  if (!order.ok()) return fail(stream, order.error(), options.until);
  TRANSSHIP_TRY(write_message(stream, {Kind::kAccepted, {}}));
  auto outcomes = receive_all(stream, volumes, *order, options);
  if (!outcomes.ok()) return fail(stream, outcomes.error(), options.until);
  TRANSSHIP_TRY(write_message(stream, outcome_message(*outcomes)));
  auto agreed = await(stream, Kind::kAgreed);
  if (!agreed.ok()) return agreed.error();
  std::array<std::byte, 1> more{};
  auto end = stream.read(more);
  if (!end.ok()) return end.error();
  if (*end != 0) return Error{ErrorCode::kCorrupt, "the session goes on after its end"};
  (void)stream.close();  // nobody waits for it any more
  return outcomes;
}

}  // namespace transship::transfer
