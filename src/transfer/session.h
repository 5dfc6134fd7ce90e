// A session: all volumes of one migration over one TLS connection, from its header to the
// receiver's acknowledgement (docs/rounds.md). Any number of rounds while the volumes are in use,
// then the final one.
//
//   sender                                receiver
//   header: version, migration, epoch,
//           volumes, announced totals ->
//                                      <- accepted
//   a round: what changed in each
//            volume                    ->
//                                         syncs, reads back
//                                      <- alive, every few seconds
//                                      <- taken
//   …
//   the final round                    ->
//                                         syncs, reads back, compares everything
//                                      <- alive, every few seconds
//                                      <- verified: every volume's digest as read back
//   agreed, close_notify               ->
//
// Either end may say "failed" with a reason instead, which the other end returns as its error.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "transfer/round_sender.h"
#include "transfer/tls.h"
#include "transfer/tree.h"

namespace transship::transfer {

struct SessionIdentity {
  std::string migration_uid;
  int epoch = 0;
};

// A volume at either end.
struct SessionVolume {
  std::string name;
  int directory = -1;            // held by the caller
  TreeTotals announced;          // sending only: what scan_tree counted
  Progress* progress = nullptr;  // may be null
};

struct SessionOptions {
  Until until;
  RateLimiter* limiter = nullptr;      // sending only
  std::function<void()> on_sent = {};  // sending only: all is handed over, nothing verified yet
  ReceiveLimits limits = {};           // receiving only, for each volume
};

struct VolumeOutcome {
  std::string name;
  Summary sent;      // what the sender read and sent
  Summary verified;  // what the receiver read back from disk; equal
};

// The sender's end.
class SendSession {
 public:
  // `stream` and what `volumes` and `options` point to must outlive it.
  SendSession(TlsStream& stream, SessionIdentity identity, std::vector<SessionVolume> volumes,
              SessionOptions options);

  // kForbidden: another migration, epoch or set of volumes there.
  Status begin();

  // Sends what changed since the last round (all, the first time) and waits until the receiver has
  // it on its disk and has read it back. The volumes may be in use.
  Result<RoundTotals> round();

  // The final round: kConflict where anything changes meanwhile. Then the receiver has said that
  // all is on its disk and equal, the session is over and `last` says what the round sent.
  Result<std::vector<VolumeOutcome>> finish(RoundTotals* last = nullptr);

  // Between two rounds, for as long as need be: the receiver hears signs of life from a thread
  // until the session goes on, or ends. Stops and limits of before have no effect meanwhile.
  void pause();
  // kUnavailable and the like where the receiver is not there any more.
  Status go_on(const Until& until, RateLimiter* limiter);

 private:
  Result<RoundTotals> send_round(bool final);
  void beat(const std::stop_token& stop);

  TlsStream& stream_;
  SessionIdentity identity_;
  std::vector<SessionVolume> volumes_;
  SessionOptions options_;
  FrameWriter out_;
  std::vector<std::unique_ptr<RoundSender>> senders_;
  Status alive_;          // the thread's, while there is one
  std::jthread beating_;  // last: it uses the others
};

// A session of the final round alone. kForbidden: another migration, epoch or set of volumes there;
// otherwise what failed at either end.
Result<std::vector<VolumeOutcome>> send_session(TlsStream& stream, const SessionIdentity& identity,
                                                const std::vector<SessionVolume>& volumes,
                                                const SessionOptions& options = {});

// Takes exactly these volumes, in the sender's order, into their empty directories; verifies them.
// Returns after the final round. kForbidden: the header is of another migration, epoch or set of
// volumes (nothing is touched).
Result<std::vector<VolumeOutcome>> receive_session(TlsStream& stream,
                                                   const SessionIdentity& identity,
                                                   const std::vector<SessionVolume>& volumes,
                                                   const SessionOptions& options = {});

}  // namespace transship::transfer
