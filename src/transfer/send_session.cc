#include "transfer/send_session.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "transfer/frames.h"
#include "transfer/held_frames.h"
#include "transfer/session_header.h"

namespace transship::transfer {
namespace {

constexpr auto kAlive = std::chrono::seconds(30);
constexpr size_t kVerifiedFields = 5;  // of each volume

constexpr std::chrono::seconds kFirstPatience{30};  // nobody listens yet
constexpr std::chrono::seconds kParting{10};        // all is verified, and both ends may know
constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLongestPause{5000};

Status take_verified(const Message& message, std::vector<VolumeOutcome>& outcomes) {
  if (message.fields.size() != outcomes.size() * kVerifiedFields)
    return Error{ErrorCode::kCorrupt, "the receiver verified other volumes"};
  for (size_t i = 0; i < outcomes.size(); ++i) {
    VolumeOutcome& outcome = outcomes[i];
    const std::string* field = &message.fields[i * kVerifiedFields];
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
    outcome.verified.rest = field[4];
    if (outcome.verified.rest != outcome.sent.rest) {
      return Error{ErrorCode::kCorrupt, "volume " + outcome.name +
                                            ": extended attributes, device numbers or hard links "
                                            "are not read back as they were sent"};
    }
  }
  return {};
}

// How much it is, to tell whether anything has come on.
int64_t weight(const Inventory& inventory) {
  int64_t weight = inventory.size();
  for (NodeId id = 0; id < inventory.size(); ++id) {
    const Node& node = inventory.at(id);
    const bool mapped = node.extra && node.extra->blocks.block != 0;
    weight += mapped ? data_bytes(node.extra->blocks.extents) : node.size;
  }
  return weight;
}

Error too_long(const std::string& why, std::chrono::seconds patience) {
  return {ErrorCode::kUnavailable, "no connection to the receiver came to anything within " +
                                       std::to_string(patience.count()) + " s: " + why};
}

}  // namespace

SendSession::SendSession(Connect connect, SessionIdentity identity,
                         std::vector<SessionVolume> volumes, SessionOptions options)
    : connect_(std::move(connect)),
      identity_(std::move(identity)),
      volumes_(std::move(volumes)),
      options_(std::move(options)),
      compressor_(options_.compression),
      out_(options_.limiter, options_.until, compressor_) {
  for (const SessionVolume& volume : volumes_)
    senders_.push_back(std::make_unique<RoundSender>(volume.directory, out_, volume.projects,
                                                     xattr_scope(volume)));
}

SendSession::SendSession(TlsStream& stream, SessionIdentity identity,
                         std::vector<SessionVolume> volumes, SessionOptions options)
    : SendSession(nullptr, std::move(identity), std::move(volumes), std::move(options)) {
  stream_ = &stream;
  stream_->set_until(options_.until);
}

Status SendSession::begin() {
  auto id = new_session_id();
  if (!id.ok()) return id.error();
  id_ = std::move(id).value();
  return persist([] { return Status(); });
}

// Does its part over a connection, anew over another one as often as one breaks.
Status SendSession::persist(const std::function<Status()>& part) {
  while (true) {
    Status done = ready_ ? Status() : connect();
    if (done.ok()) done = part();
    if (done.ok()) {
      stalled_.reset();
      return done;
    }
    if (!is_lost(done.error())) return tell(done.error());
    // Before the first one, nobody may listen yet.
    if (ready_)
      log::warning("the connection to the receiver broke", {{"error", done.error().message}});
    TRANSSHIP_TRY(bear(done.error()));
  }
}

// After the loss of a connection, or a try for one that failed: waits before the next try, if there
// is to be one.
Status SendSession::bear(const Error& error) {
  const auto now = Clock::now();
  // One that lived so long most likely brought something, even if that was not more data.
  if (ready_ && now - connected_ >= options_.patience) stalled_.reset();
  ready_ = false;
  if (!stalled_) stalled_ = now;
  if (!disconnected_) disconnected_ = now;
  const std::chrono::seconds patience = verified_ ? std::min(kParting, options_.patience)
                                        : begun_  ? options_.patience
                                                  : kFirstPatience;
  if (now - *disconnected_ >= patience) {
    gave_up_ = true;
    return too_long(error.message, patience);
  }
  pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
  return options_.until.sleep_until(now + pause_, "connect to the receiver");
}

// Whether it is the connection's fault alone.
bool SendSession::is_lost(const Error& error) const {
  if (connect_ == nullptr || told_ || !options_.until.check("").ok()) return false;
  if (stream_ != nullptr && !stream_->broken()) return false;
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimeout ||
         error.code == ErrorCode::kCorrupt;
}

// So that the receiver does not wait for another connection. To go on is no failure.
Error SendSession::tell(const Error& error) {
  if (resting_ && error.code == ErrorCode::kCancelled) return error;
  if (stream_ == nullptr || stream_->broken() || told_) return error;
  told_ = true;
  return fail(*stream_, error, options_.until);
}

Status SendSession::connect() {
  if (connect_ != nullptr) {
    stream_ = nullptr;
    own_.reset();
    auto stream = connect_(options_.until);
    if (!stream.ok()) return stream.error();
    own_ = std::move(stream).value();
    stream_ = own_.get();
    stream_->set_until(options_.until);
  }
  TRANSSHIP_TRY(greet());
  out_.use(*stream_);
  begun_ = ready_ = true;
  pause_ = {};
  connected_ = Clock::now();
  disconnected_.reset();
  return {};
}

Status SendSession::greet() {
  TRANSSHIP_TRY(write_message(*stream_, header_of(identity_, id_, volumes_)));
  auto accepted = await(*stream_, FrameKind::kAccepted);
  if (!accepted.ok()) return accepted.error();
  const auto& fields = accepted->fields;
  if (fields.size() != 1 + volumes_.size() || (fields[0] != "held" && fields[0] != "new"))
    return Error{ErrorCode::kCorrupt, "an unexpected session message"};
  for (size_t i = 0; i < volumes_.size(); ++i) TRANSSHIP_TRY(take_target_project(i, fields[i + 1]));
  const bool held = fields[0] == "held";
  // A receiver that has begun anew has nothing, whatever one before it had.
  if (!held && !begun_) return {};
  auto inventories = held ? take_held() : std::vector<Inventory>(volumes_.size());
  if (!inventories.ok()) return inventories.error();
  int64_t now = 0;
  for (size_t i = 0; i < volumes_.size(); ++i) {
    now += weight((*inventories)[i]);
    senders_[i]->resume(std::move((*inventories)[i]));
  }
  if (std::exchange(held_, now) < now) stalled_.reset();
  if (!stalled_ || Clock::now() - *stalled_ < options_.patience) return {};
  return too_long("they break before the receiver has more than it had", options_.patience);
}

Status SendSession::take_target_project(size_t volume, const std::string& field) {
  int64_t project = 0;
  if (!to_count(field, project) || project > UINT32_MAX)
    return Error{ErrorCode::kCorrupt, "an unexpected session message"};
  const Status taken = senders_[volume]->take_target_project(static_cast<uint32_t>(project));
  return taken.ok() ? taken : taken.error().during("volume " + volumes_[volume].name);
}

Result<std::vector<Inventory>> SendSession::take_held() {
  std::vector<Inventory> all;
  for (const SessionVolume& volume : volumes_) {
    auto begins = await(*stream_, FrameKind::kVolume);
    if (!begins.ok()) return begins.error();
    if (begins->fields != std::vector<std::string>{volume.name, "held"})
      return Error{ErrorCode::kCorrupt, "the receiver has other volumes"};
    HeldReader reader(options_.limits, xattr_scope(volume));
    while (true) {
      TRANSSHIP_TRY(options_.until.check("hear what the receiver has"));
      auto frame = read_frame(*stream_);
      if (!frame.ok()) return frame.error();
      if (frame->kind == FrameKind::kVolumeEnd) break;
      if (frame->kind == FrameKind::kFailed) {
        auto message = parse_message(*frame);
        return message.ok() ? failure_of(*message) : message.error();
      }
      if (frame->kind != FrameKind::kHeld)
        return Error{ErrorCode::kCorrupt, "an unexpected session message"};
      const Status taken = reader.take(frame->payload());
      if (!taken.ok()) return taken.error().during("volume " + volume.name);
    }
    auto inventory = reader.finish();
    if (!inventory.ok()) return inventory.error().during("volume " + volume.name);
    all.push_back(std::move(inventory).value());
  }
  return all;
}

Result<RoundTotals> SendSession::send_round(bool final) {
  RoundTotals totals;
  for (size_t i = 0; i < volumes_.size(); ++i) {
    const SessionVolume& volume = volumes_[i];
    const std::string during = "volume " + volume.name;
    TRANSSHIP_TRY(
        out_.write(FrameKind::kVolume, message_body({volume.name, final ? "final" : "more"})));
    auto sent = senders_[i]->send(final, options_.until, volume.progress);
    if (!sent.ok()) return sent.error().during(during);
    totals.bytes += sent->bytes;
    totals.entries += sent->entries;
    totals.looked += sent->looked;
    TRANSSHIP_TRY(out_.write(FrameKind::kVolumeEnd, ""));
  }
  TRANSSHIP_TRY(out_.write(FrameKind::kRoundEnd, ""));
  TRANSSHIP_TRY(out_.flush());
  return totals;
}

Result<RoundTotals> SendSession::round() {
  RoundTotals totals;
  const int64_t before = out_.written();
  const Status done = persist([&]() -> Status {
    auto sent = send_round(/*final=*/false);
    if (!sent.ok()) return sent.error();
    totals = *sent;
    auto taken = await(*stream_, FrameKind::kTaken);
    return taken.ok() ? Status() : taken.error();
  });
  if (!done.ok()) return done.error();
  totals.bytes = out_.written() - before;
  return totals;
}

Result<std::vector<VolumeOutcome>> SendSession::finish(RoundTotals* last) {
  std::vector<VolumeOutcome> outcomes;
  RoundTotals totals;
  const int64_t before = out_.written();
  const Status done = persist([&] { return finish_once(outcomes, totals); });
  totals.bytes = out_.written() - before;
  if (last != nullptr) *last = totals;
  // It has verified all, and is not there any more: most likely since it knows that we agree.
  if (!done.ok() && !(verified_ && gave_up_)) return done.error();
  return outcomes;
}

Status SendSession::finish_once(std::vector<VolumeOutcome>& outcomes, RoundTotals& totals) {
  verified_ = false;
  outcomes.clear();
  auto sent = send_round(/*final=*/true);
  if (!sent.ok()) return sent.error();
  totals = *sent;
  if (options_.on_sent) options_.on_sent();
  // While the receiver reads back.
  for (size_t i = 0; i < volumes_.size(); ++i) {
    const Status same = senders_[i]->check_unchanged(options_.until);
    if (!same.ok()) return same.error().during("volume " + volumes_[i].name);
    const Summary summary = senders_[i]->summary();
    outcomes.push_back({volumes_[i].name, summary, {}});
    if (Progress* progress = volumes_[i].progress) {
      // What earlier rounds brought counts, too.
      progress->bytes = summary.totals.bytes;
      progress->entries = summary.totals.entries;
    }
  }
  auto verified = await(*stream_, FrameKind::kVerified);
  if (!verified.ok()) return verified.error();
  if (const Status equal = take_verified(*verified, outcomes); !equal.ok())
    return tell(equal.error());
  verified_ = true;
  return agree();
}

// Until the receiver has heard it: it waits for us otherwise.
Status SendSession::agree() {
  TRANSSHIP_TRY(write_message(*stream_, {FrameKind::kAgreed, {}}));
  TRANSSHIP_TRY(stream_->close());
  Until soon = options_.until;
  const auto latest = Clock::now() + kParting;
  soon.end = soon.end ? std::min(*soon.end, latest) : latest;
  stream_->set_until(soon);
  std::array<std::byte, 1> more{};
  const auto end = stream_->read(more);
  if (end.ok() && *end != 0)
    return Error{ErrorCode::kCorrupt, "the receiver goes on after the session's end"};
  return end.ok() || connect_ == nullptr ? Status() : end.error();
}

void SendSession::pause() {
  resting_ = true;
  beating_ = std::jthread([this](const std::stop_token& stop) { beat(stop); });
}

// A connection that breaks meanwhile is noticed at once: the receiver waits for another.
void SendSession::beat(const std::stop_token& stop) {
  options_.until = {stop, {}};
  options_.limiter = nullptr;
  out_.go_on(nullptr, options_.until);
  const UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  const std::stop_callback on_stop(stop, [&wake] { (void)::eventfd_write(wake.get(), 1); });
  while (alive_.ok() && !stop.stop_requested()) {
    if (ready_) stream_->wait_readable(kAlive, wake.get());
    if (stop.stop_requested()) return;
    Status heard = persist([this] { return say_alive(); });
    // Asked to stop while there was no connection: whoever goes on makes one.
    if (!stop.stop_requested()) alive_ = std::move(heard);
  }
}

Status SendSession::say_alive() {
  // Whoever wants to go on waits for this: half a message cannot be taken back.
  stream_->set_until({{}, Until::Clock::now() + kAlive});
  if (stream_->readable()) {
    auto heard = await(*stream_, FrameKind::kFailed);
    return heard.ok() ? Error{ErrorCode::kCorrupt, "an unexpected session message"} : heard.error();
  }
  return write_message(*stream_, {FrameKind::kStillAlive, {}});
}

Status SendSession::go_on(const Until& until, RateLimiter* limiter) {
  beating_ = {};
  resting_ = false;
  options_.until = until;
  options_.limiter = limiter;
  out_.go_on(limiter, until);
  if (stream_ != nullptr) stream_->set_until(until);
  return alive_;
}

Result<std::vector<VolumeOutcome>> send_session(TlsStream& stream, const SessionIdentity& identity,
                                                const std::vector<SessionVolume>& volumes,
                                                const SessionOptions& options) {
  SendSession session(stream, identity, volumes, options);
  TRANSSHIP_TRY(session.begin());
  return session.finish();
}

}  // namespace transship::transfer
