// The receiver's end of a session.
#include <algorithm>
#include <array>
#include <functional>
#include <future>

#include "base/log.h"
#include "transfer/frames.h"
#include "transfer/held_frames.h"
#include "transfer/project_ids.h"
#include "transfer/round_receiver.h"
#include "transfer/session.h"
#include "transfer/session_header.h"

namespace transship::transfer {
namespace {

using Outcomes = Result<std::vector<VolumeOutcome>>;

constexpr auto kAlive = std::chrono::seconds(5);
constexpr auto kHeader = std::chrono::seconds(30);

Message outcome_message(const std::vector<VolumeOutcome>& outcomes) {
  Message message{FrameKind::kVerified, {}};
  for (const VolumeOutcome& outcome : outcomes) {
    message.fields.push_back(outcome.name);
    message.fields.push_back(outcome.verified.digest);
    message.fields.push_back(std::to_string(outcome.verified.totals.bytes));
    message.fields.push_back(std::to_string(outcome.verified.totals.entries));
    message.fields.push_back(outcome.verified.rest);
  }
  return message;
}

Error unexpected() { return {ErrorCode::kCorrupt, "an unexpected session message"}; }

// A session through all its connections, one after the other.
class ReceiveSession {
 public:
  ReceiveSession(SessionIdentity identity, std::vector<SessionVolume> volumes,
                 SessionOptions options)
      : identity_(std::move(identity)),
        volumes_(std::move(volumes)),
        options_(std::move(options)),
        receivers_(volumes_.size()) {}

  // One connection, to its end or the session's.
  Outcomes serve(TlsStream& stream) {
    stream_ = &stream;
    stop_ = std::stop_source();
    lost_ = refused_ = advanced_ = false;
    const std::stop_callback forward(options_.until.stop,
                                     [stop = stop_]() mutable { stop.request_stop(); });
    Outcomes outcomes = run();
    for (const auto& receiver : receivers_) {
      if (lost_ && receiver) receiver->abandon();
    }
    if (outcomes.ok() || lost_) return outcomes;
    return fail(stream, outcomes.error(), options_.until);
  }

  [[nodiscard]] bool begun() const { return !id_.empty(); }
  // After a failure: whether it was the connection's alone, or the peer's who is not the sender.
  [[nodiscard]] bool goes_on() const { return lost_ || (refused_ && begun()); }
  // Whether the connection brought anything on.
  [[nodiscard]] bool advanced() const { return advanced_; }

 private:
  Outcomes run() {
    // Who has connected and is silent must not keep the sender away.
    Until soon = options_.until;
    const auto end = Until::Clock::now() + kHeader;
    soon.end = soon.end ? std::min(*soon.end, end) : end;
    stream_->set_until(soon);
    auto message = hear(FrameKind::kHeader);
    stream_->set_until(options_.until);
    if (!message.ok()) return message.error();
    auto header = read_header(*message, identity_, volumes_);
    refused_ = !header.ok() || (begun() && !same_session(id_, header->id));
    if (!header.ok()) return header.error();
    if (refused_) {
      return Error{ErrorCode::kForbidden,
                   "session refused: the receiver has begun one with another sender"};
    }
    TRANSSHIP_TRY(check_announced(*header));
    // What an earlier connection has begun is not empty any more.
    const bool held = options_.resume || (begun() && !receivers_.empty() && receivers_[0]);
    id_ = header->id;
    order_ = header->order;
    auto accepted = accept(held);
    if (!accepted) return accepted.error();
    TRANSSHIP_TRY(say(*accepted));
    for (size_t i = 0; i < order_.size(); ++i)
      TRANSSHIP_TRY(prepare(order_[i], header->announced[i], held));
    if (held) TRANSSHIP_TRY(tell_held());
    return take_rounds();
  }

  [[nodiscard]] Result<Message> accept(bool held) const {
    Message accepted{FrameKind::kAccepted, {held ? "held" : "new"}};
    for (const size_t index : order_) {
      const SessionVolume& volume = volumes_[index];
      auto project = volume.projects ? root_project(volume.directory) : Result<uint32_t>(0U);
      if (!project) return project.error().during("volume " + volume.name);
      accepted.fields.push_back(std::to_string(*project));
    }
    return accepted;
  }

  // Before anything is touched.
  Status check_announced(const SessionHeader& header) const {
    const ReceiveLimits& limits = options_.limits;
    for (size_t i = 0; i < header.order.size(); ++i) {
      const TreeTotals& announced = header.announced[i];
      const auto refuse = [&](const char* what, int64_t has, int64_t most) {
        return Error{ErrorCode::kPreconditionFailed,
                     "volume " + volumes_[header.order[i]].name + " has " + std::to_string(has) +
                         " " + what + ", and " + std::to_string(most) + " are the most"};
      };
      if (announced.entries > limits.entries)
        return refuse("entries", announced.entries, limits.entries);
      if (announced.bytes > limits.bytes) return refuse("bytes", announced.bytes, limits.bytes);
    }
    return {};
  }

  [[nodiscard]] ReceiveLimits limits_for(const TreeTotals& announced) const {
    ReceiveLimits limits = options_.limits;
    if (options_.unannounced)
      limits.entries = std::min(limits.entries, *options_.unannounced + 4 * announced.entries);
    return limits;
  }

  Status prepare(size_t index, const TreeTotals& announced, bool held) {
    const SessionVolume& volume = volumes_[index];
    if (volume.progress != nullptr) {
      volume.progress->announced_bytes = announced.bytes;
      volume.progress->announced_entries = announced.entries;
    }
    auto receiver = std::make_unique<RoundReceiver>(
        volume.directory,
        ReceiveOptions{Until{stop_.get_token(), options_.until.end}, volume.progress,
                       limits_for(announced), volume.projects, xattr_scope(volume)});
    const Inventory* known = receivers_[index] ? &receivers_[index]->inventory() : nullptr;
    const Status ready =
        held ? alive([&] { return receiver->resume(announced.bytes, known); }) : receiver->begin();
    if (!ready.ok()) return ready.error().during("volume " + volume.name);
    receivers_[index] = std::move(receiver);
    return {};
  }

  Status tell_held() {
    for (const size_t index : order_) {
      TRANSSHIP_TRY(say({FrameKind::kVolume, {volumes_[index].name, "held"}}));
      TRANSSHIP_TRY(write_held(receivers_[index]->inventory(), [this](std::string_view payload) {
        return noted(write_frame(*stream_, FrameKind::kHeld, payload));
      }));
      TRANSSHIP_TRY(say({FrameKind::kVolumeEnd, {}}));
      receivers_[index]->forget_blocks();
    }
    return {};
  }

  Outcomes take_rounds() {
    while (true) {
      auto final = take_round();
      if (!final.ok()) return final.error();
      for (const size_t index : order_) {
        RoundReceiver& receiver = *receivers_[index];
        const Status verified = alive([&] { return receiver.verify(*final); });
        if (!verified.ok()) return verified.error().during("volume " + volumes_[index].name);
      }
      if (*final) return agree();
      TRANSSHIP_TRY(say({FrameKind::kTaken, {}}));
    }
  }

  // Every field was compared with what is on the disk; whether that is what was sent, the sender
  // says. From then on the copy counts, whatever becomes of the connection.
  Outcomes agree() {
    std::vector<VolumeOutcome> outcomes;
    for (const size_t index : order_) {
      const Summary summary = receivers_[index]->summary();
      outcomes.push_back({volumes_[index].name, summary, summary});
      if (Progress* progress = volumes_[index].progress) {
        progress->bytes = progress->verified_bytes = summary.totals.bytes;
        progress->entries = progress->verified_entries = summary.totals.entries;
      }
    }
    TRANSSHIP_TRY(say(outcome_message(outcomes)));
    auto agreed = hear(FrameKind::kAgreed);
    if (!agreed.ok()) return agreed.error();
    std::array<std::byte, 1> more{};
    const auto end = stream_->read(more);
    if (end.ok() && *end != 0)
      return Error{ErrorCode::kCorrupt, "the session goes on after its end"};
    (void)stream_->close();  // the sender, who knows already, waits a moment for it
    return outcomes;
  }

  // Whether it was the final one.
  Result<bool> take_round() {
    size_t current = 0;
    bool final = false;
    bool inside = false;
    while (true) {
      auto frame = noted(read_frame(*stream_, memory_));
      if (!frame.ok()) return frame.error();
      advanced_ = true;
      if (frame->kind == FrameKind::kPacked) {
        frame = unpack(*frame, memory_);
        if (!frame.ok()) return frame.error();
      }
      switch (frame->kind) {
        case FrameKind::kStillAlive:
          break;
        case FrameKind::kVolume: {
          if (inside || current == order_.size()) return unexpected();
          auto is_final = begins(*frame, volumes_[order_[current]].name);
          if (!is_final.ok()) return is_final.error();
          if (current > 0 && final != *is_final) return unexpected();
          final = *is_final;
          inside = true;
          break;
        }
        case FrameKind::kDirectories:
        case FrameKind::kNames:
        case FrameKind::kNodes: {
          if (!inside) return unexpected();
          const Status taken = receivers_[order_[current]]->take(std::move(*frame));
          if (!taken.ok()) return during_volume(current, taken);
          break;
        }
        case FrameKind::kVolumeEnd: {
          if (!inside) return unexpected();
          const Status ended = receivers_[order_[current]]->end_round();
          if (!ended.ok()) return during_volume(current, ended);
          inside = false;
          ++current;
          break;
        }
        case FrameKind::kRoundEnd:
          if (inside || current != order_.size()) return unexpected();
          return final;
        case FrameKind::kFailed: {
          auto message = parse_message(*frame);
          return message.ok() ? failure_of(*message) : message.error();
        }
        default:
          return unexpected();
      }
    }
  }

  [[nodiscard]] Error during_volume(size_t current, const Status& failed) const {
    return failed.error().during("volume " + volumes_[order_[current]].name);
  }

  // Whether the volume's part of a round is of the final one.
  static Result<bool> begins(const Frame& frame, const std::string& volume) {
    auto message = parse_message(frame);
    if (!message.ok()) return message.error();
    const auto& fields = message->fields;
    if (fields.size() != 2 || fields[0] != volume || (fields[1] != "final" && fields[1] != "more"))
      return unexpected();
    return fields[1] == "final";
  }

  // While the sender hears a sign of life every few seconds, so that neither gives up. For one who
  // does not listen any more nothing is done.
  Status alive(const std::function<Status()>& work) {
    auto working = std::async(std::launch::async, work);
    Status said;
    while (working.wait_for(kAlive) != std::future_status::ready) {
      if (said.ok()) said = say({FrameKind::kStillAlive, {}});
      if (!said.ok()) stop_.request_stop();
    }
    Status done = working.get();
    if (said.ok()) return done;
    // What went wrong by itself is no fault of the connection's.
    lost_ = lost_ && (done.ok() || done.error().code == ErrorCode::kCancelled);
    return lost_ ? said : done;
  }

  Result<Message> hear(FrameKind wanted) { return noted(await(*stream_, wanted)); }
  Status say(const Message& message) { return noted(write_message(*stream_, message)); }

  // What comes of an operation on the connection.
  template <typename T>
  Result<T> noted(Result<T> done) {
    if (!done.ok() && stream_->broken()) lost_ = options_.until.check("").ok();
    return done;
  }

  const SessionIdentity identity_;
  const std::vector<SessionVolume> volumes_;
  const SessionOptions options_;
  std::string id_;             // of the first connection that was accepted
  std::vector<size_t> order_;  // the sender's
  std::vector<std::unique_ptr<RoundReceiver>> receivers_;  // by volume
  const FrameMemory memory_;
  // This connection's.
  TlsStream* stream_ = nullptr;
  std::stop_source stop_;
  bool lost_ = false;
  bool refused_ = false;
  bool advanced_ = false;
};

}  // namespace

Outcomes receive_session(TlsStream& stream, const SessionIdentity& identity,
                         const std::vector<SessionVolume>& volumes, const SessionOptions& options) {
  return ReceiveSession(identity, volumes, options).serve(stream);
}

Outcomes receive_session(TlsListener& listener, const SessionIdentity& identity,
                         const std::vector<SessionVolume>& volumes, const SessionOptions& options) {
  ReceiveSession session(identity, volumes, options);
  Until until = options.until;
  Error why;
  while (true) {
    auto stream = listener.accept(until);
    if (!stream.ok()) {
      if (!session.begun() || !options.until.check("").ok()) return stream.error();
      return Error{ErrorCode::kUnavailable,
                   "the connection broke, and the sender did not come back within " +
                       std::to_string(options.patience.count()) + " s: " + why.message};
    }
    log::debug("sender connected", {{"peer", (*stream)->peer()}});
    Outcomes outcomes = session.serve(**stream);
    if (outcomes.ok() || !session.goes_on()) return outcomes;
    log::warning("the session waits for another connection", {{"error", outcomes.error().message}});
    why = outcomes.error();
    // It has so long for the next one, and not longer for anybody who comes in vain.
    if (session.begun() && (session.advanced() || until.end == options.until.end)) {
      until.end = Until::Clock::now() + options.patience;
      if (options.until.end) until.end = std::min(*until.end, *options.until.end);
    }
  }
}

}  // namespace transship::transfer
