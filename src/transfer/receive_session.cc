// The receiver's end of a session.
#include <algorithm>
#include <array>
#include <future>

#include "transfer/frames.h"
#include "transfer/round_receiver.h"
#include "transfer/session.h"

namespace transship::transfer {
namespace {

constexpr auto kAlive = std::chrono::seconds(5);

Message outcome_message(const std::vector<VolumeOutcome>& outcomes) {
  Message message{FrameKind::kVerified, {}};
  for (const VolumeOutcome& outcome : outcomes) {
    message.fields.push_back(outcome.name);
    message.fields.push_back(outcome.verified.digest);
    message.fields.push_back(std::to_string(outcome.verified.totals.bytes));
    message.fields.push_back(std::to_string(outcome.verified.totals.entries));
  }
  return message;
}

// The header's volumes in the sender's order, as indexes into `volumes`.
Result<std::vector<size_t>> check_header(const Message& header, const SessionIdentity& identity,
                                         const std::vector<SessionVolume>& volumes) {
  const auto& fields = header.fields;
  const auto refuse = [](const std::string& why) {
    return Error{ErrorCode::kForbidden, "session refused: " + why};
  };
  if (fields.size() < 3 || fields[0] != std::to_string(kSessionVersion))
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

class ReceiveSession {
 public:
  ReceiveSession(TlsStream& stream, const std::vector<SessionVolume>& volumes,
                 const std::vector<size_t>& order, const SessionOptions& options)
      : stream_(stream), options_(options) {
    for (const size_t index : order) {
      const SessionVolume& volume = volumes[index];
      volumes_.push_back(
          {volume,
           std::make_unique<RoundReceiver>(
               volume.directory, ReceiveOptions{options.until, volume.progress, options.limits})});
      outcomes_.push_back({volume.name, {}, {}});
    }
  }

  Result<std::vector<VolumeOutcome>> run() {
    for (Volume& volume : volumes_) {
      if (const Status begun = volume.receiver->begin(); !begun.ok())
        return begun.error().during("volume " + volume.at.name);
    }
    while (true) {
      auto final = take_round();
      if (!final.ok()) return final.error();
      for (size_t i = 0; i < volumes_.size(); ++i) {
        if (const Status verified = verify_alive(volumes_[i], *final); !verified.ok())
          return verified.error().during("volume " + volumes_[i].at.name);
        if (!*final) continue;
        // Every field of it was compared with what is on the disk; whether that is what was sent,
        // the sender says.
        outcomes_[i].sent = outcomes_[i].verified = volumes_[i].receiver->summary();
        if (Progress* progress = volumes_[i].at.progress) {
          progress->bytes = progress->verified_bytes = outcomes_[i].sent.totals.bytes;
          progress->entries = progress->verified_entries = outcomes_[i].sent.totals.entries;
        }
      }
      if (*final) return outcomes_;
      TRANSSHIP_TRY(write_message(stream_, {FrameKind::kTaken, {}}));
    }
  }

 private:
  struct Volume {
    SessionVolume at;
    std::unique_ptr<RoundReceiver> receiver;
  };

  // Whether it was the final one.
  Result<bool> take_round() {
    size_t current = 0;
    bool final = false;
    bool inside = false;
    const auto unexpected = [] {
      return Error{ErrorCode::kCorrupt, "an unexpected session message"};
    };
    while (true) {
      auto frame = read_frame(stream_);
      if (!frame.ok()) return frame.error();
      switch (frame->kind) {
        case FrameKind::kStillAlive:
          break;
        case FrameKind::kVolume: {
          auto message = parse_message(*frame);
          if (!message.ok()) return message.error();
          const auto& fields = message->fields;
          if (inside || current == volumes_.size() || fields.size() != 2 ||
              fields[0] != volumes_[current].at.name ||
              (fields[1] != "final" && fields[1] != "more"))
            return unexpected();
          if (current > 0 && final != (fields[1] == "final")) return unexpected();
          final = fields[1] == "final";
          inside = true;
          break;
        }
        case FrameKind::kDirectories:
        case FrameKind::kNames:
        case FrameKind::kNodes: {
          if (!inside) return unexpected();
          const Status taken = volumes_[current].receiver->take(std::move(*frame));
          if (!taken.ok()) return taken.error().during("volume " + volumes_[current].at.name);
          break;
        }
        case FrameKind::kVolumeEnd: {
          if (!inside) return unexpected();
          const Status ended = volumes_[current].receiver->end_round();
          if (!ended.ok()) return ended.error().during("volume " + volumes_[current].at.name);
          inside = false;
          ++current;
          break;
        }
        case FrameKind::kRoundEnd:
          if (inside || current != volumes_.size()) return unexpected();
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

  // While the sender hears a sign of life every few seconds, so that neither gives up.
  Status verify_alive(Volume& volume, bool final) {
    auto verifying = std::async(std::launch::async, [&] { return volume.receiver->verify(final); });
    Status heard;
    while (verifying.wait_for(kAlive) != std::future_status::ready) {
      if (heard.ok()) heard = write_message(stream_, {FrameKind::kStillAlive, {}});
    }
    const Status verified = verifying.get();
    return verified.ok() ? heard : verified;
  }

  TlsStream& stream_;
  SessionOptions options_;
  std::vector<Volume> volumes_;
  std::vector<VolumeOutcome> outcomes_;
};

}  // namespace

Result<std::vector<VolumeOutcome>> receive_session(TlsStream& stream,
                                                   const SessionIdentity& identity,
                                                   const std::vector<SessionVolume>& volumes,
                                                   const SessionOptions& options) {
  stream.set_until(options.until);
  auto header = await(stream, FrameKind::kHeader);
  if (!header.ok()) return header.error();
  auto order = check_header(*header, identity, volumes);
  if (!order.ok()) return fail(stream, order.error(), options.until);
  TRANSSHIP_TRY(write_message(stream, {FrameKind::kAccepted, {}}));
  auto outcomes = ReceiveSession(stream, volumes, *order, options).run();
  if (!outcomes.ok()) return fail(stream, outcomes.error(), options.until);
  TRANSSHIP_TRY(write_message(stream, outcome_message(*outcomes)));
  auto agreed = await(stream, FrameKind::kAgreed);
  if (!agreed.ok()) return agreed.error();
  std::array<std::byte, 1> more{};
  auto end = stream.read(more);
  if (!end.ok()) return end.error();
  if (*end != 0) return Error{ErrorCode::kCorrupt, "the session goes on after its end"};
  (void)stream.close();  // nobody waits for it any more
  return outcomes;
}

}  // namespace transship::transfer
