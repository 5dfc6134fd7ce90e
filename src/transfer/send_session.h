// The sender's end of a session (session.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "transfer/round_sender.h"
#include "transfer/session.h"

namespace transship::transfer {

// Connects to the receiver, once; by any thread that uses the session.
using Connect = std::function<Result<std::unique_ptr<TlsStream>>(const Until&)>;

class SendSession {
 public:
  // Over this one connection, with which the session ends, too. `stream` and what `volumes` and
  // `options` point to must outlive it.
  SendSession(TlsStream& stream, SessionIdentity identity, std::vector<SessionVolume> volumes,
              SessionOptions options);

  // Over connections of its own: where one breaks, it goes on over another, in all that follows.
  // kUnavailable where there is none within options.patience, or nothing comes on by it.
  SendSession(Connect connect, SessionIdentity identity, std::vector<SessionVolume> volumes,
              SessionOptions options);

  // kForbidden: another migration, epoch or set of volumes there, or another sender's session.
  // kUnavailable: nobody has listened there for 30 s.
  Status begin();

  // Sends what changed since the last round (all, the first time) and waits until the receiver has
  // it on its disk and has read it back. The volumes may be in use.
  Result<RoundTotals> round();

  // The final round: kConflict where anything changes meanwhile. Then the receiver has said that
  // all is on its disk and equal, the session is over and `last` says what the round sent. Where
  // the connection breaks after that, the receiver may wait in vain for hearing so: whether it
  // counts there, it says itself.
  Result<std::vector<VolumeOutcome>> finish(RoundTotals* last = nullptr);

  // Between two rounds, for as long as need be: the receiver hears signs of life from a thread
  // until the session goes on, or ends. Stops and limits of before have no effect meanwhile.
  void pause();
  // kUnavailable and the like where the receiver is not there any more.
  Status go_on(const Until& until, RateLimiter* limiter);

 private:
  using Clock = Until::Clock;

  Status persist(const std::function<Status()>& part);
  Status connect();
  Status greet();
  Status take_target_project(size_t volume, const std::string& field);
  Result<std::vector<Inventory>> take_held();
  [[nodiscard]] bool is_lost(const Error& error) const;
  Status bear(const Error& error);
  Result<RoundTotals> send_round(bool final);
  Status finish_once(std::vector<VolumeOutcome>& outcomes, RoundTotals& totals);
  Status agree();
  Error tell(const Error& error);
  Status say_alive();
  void beat(const std::stop_token& stop);

  Connect connect_;  // null: there is but one connection
  std::unique_ptr<TlsStream> own_;
  TlsStream* stream_ = nullptr;  // null: there is none
  bool ready_ = false;           // accepted over this one
  std::string id_;
  SessionIdentity identity_;
  std::vector<SessionVolume> volumes_;
  SessionOptions options_;
  FrameCompressor compressor_;
  FrameWriter out_;
  std::vector<std::unique_ptr<RoundSender>> senders_;
  bool begun_ = false;                             // a connection was accepted
  bool resting_ = false;                           // the thread has it
  bool told_ = false;                              // why it failed, to the receiver
  bool verified_ = false;                          // the receiver has verified all, and equal
  bool gave_up_ = false;                           // no connection came to anything for too long
  std::optional<Clock::time_point> stalled_;       // since when nothing came on
  std::optional<Clock::time_point> disconnected_;  // since when there was no connection
  Clock::time_point connected_;                    // when the latest one was accepted
  std::chrono::milliseconds pause_{0};             // before the next try
  int64_t held_ = -1;     // what the receiver had most recently, in bytes and entries
  Status alive_;          // the thread's, while there is one
  std::jthread beating_;  // last: it uses the others
};

// A session of the final round alone. kForbidden: another migration, epoch or set of volumes there;
// otherwise what failed at either end.
Result<std::vector<VolumeOutcome>> send_session(TlsStream& stream, const SessionIdentity& identity,
                                                const std::vector<SessionVolume>& volumes,
                                                const SessionOptions& options = {});

}  // namespace transship::transfer
