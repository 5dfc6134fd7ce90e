#include "transfer/session.h"

#include <algorithm>
#include <condition_variable>
#include <thread>

#include "transfer/frames.h"

namespace transship::transfer {
namespace {

constexpr auto kAlive = std::chrono::seconds(30);

Message header_of(const SessionIdentity& identity, const std::vector<SessionVolume>& volumes) {
  Message header{
      FrameKind::kHeader,
      {std::to_string(kSessionVersion), identity.migration_uid, std::to_string(identity.epoch)}};
  for (const SessionVolume& volume : volumes) {
    header.fields.push_back(volume.name);
    header.fields.push_back(std::to_string(volume.announced.bytes));
    header.fields.push_back(std::to_string(volume.announced.entries));
  }
  return header;
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

SendSession::SendSession(TlsStream& stream, SessionIdentity identity,
                         std::vector<SessionVolume> volumes, SessionOptions options)
    : stream_(stream),
      identity_(std::move(identity)),
      volumes_(std::move(volumes)),
      options_(std::move(options)),
      out_(stream, options_.limiter, options_.until) {
  for (const SessionVolume& volume : volumes_)
    senders_.push_back(std::make_unique<RoundSender>(volume.directory, out_));
  stream_.set_until(options_.until);
}

Status SendSession::begin() {
  TRANSSHIP_TRY(write_message(stream_, header_of(identity_, volumes_)));
  auto accepted = await(stream_, FrameKind::kAccepted);
  return accepted.ok() ? Status() : accepted.error();
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
  auto sent = send_round(/*final=*/false);
  if (!sent.ok()) return sent;
  auto taken = await(stream_, FrameKind::kTaken);
  if (!taken.ok()) return taken.error();
  return sent;
}

Result<std::vector<VolumeOutcome>> SendSession::finish(RoundTotals* last) {
  auto sent = send_round(/*final=*/true);
  if (!sent.ok()) return sent.error();
  if (last != nullptr) *last = *sent;
  if (options_.on_sent) options_.on_sent();
  // While the receiver reads back.
  std::vector<VolumeOutcome> outcomes;
  for (size_t i = 0; i < volumes_.size(); ++i) {
    const Status same = senders_[i]->check_unchanged(options_.until);
    if (!same.ok())
      return fail(stream_, same.error().during("volume " + volumes_[i].name), options_.until);
    const Summary summary = senders_[i]->summary();
    outcomes.push_back({volumes_[i].name, summary, {}});
    if (Progress* progress = volumes_[i].progress) {
      // What earlier rounds brought counts, too.
      progress->bytes = summary.totals.bytes;
      progress->entries = summary.totals.entries;
    }
  }
  auto verified = await(stream_, FrameKind::kVerified);
  if (!verified.ok()) return verified.error();
  if (const Status equal = take_verified(*verified, outcomes); !equal.ok())
    return fail(stream_, equal.error(), options_.until);
  TRANSSHIP_TRY(write_message(stream_, {FrameKind::kAgreed, {}}));
  TRANSSHIP_TRY(stream_.close());
  return outcomes;
}

void SendSession::pause() {
  beating_ = std::jthread([this](const std::stop_token& stop) { beat(stop); });
}

void SendSession::beat(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (alive_.ok() && !stopped.wait_for(lock, stop, kAlive, [] { return false; })) {
    if (stop.stop_requested()) return;
    // Whoever wants to go on waits for this.
    stream_.set_until({{}, Until::Clock::now() + kAlive});
    alive_ = write_message(stream_, {FrameKind::kStillAlive, {}});
  }
}

Status SendSession::go_on(const Until& until, RateLimiter* limiter) {
  beating_ = {};
  options_.until = until;
  options_.limiter = limiter;
  out_.go_on(limiter, until);
  stream_.set_until(until);
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
