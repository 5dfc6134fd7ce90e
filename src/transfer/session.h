// A session: all volumes of one migration over one TLS connection, from its header to the
// receiver's acknowledgement (docs/stream.md, "Session").
//
//   sender                                receiver
//   header: version, migration, epoch,
//           volumes, announced totals ->
//                                      <- accepted
//   each volume's tar, in order        ->
//                                         syncs, reads back, compares
//                                      <- alive, every few seconds
//                                      <- verified: every volume's digest as read back
//   agreed, close_notify               ->
//
// Either end may say "failed" with a reason instead, which the other end returns as its error.
#pragma once

#include <functional>
#include <string>
#include <vector>

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

// Sends every volume and waits for the receiver's word that all are on its disk and equal.
// kForbidden: another migration, epoch or set of volumes there; otherwise what failed at either
// end.
Result<std::vector<VolumeOutcome>> send_session(TlsStream& stream, const SessionIdentity& identity,
                                                const std::vector<SessionVolume>& volumes,
                                                const SessionOptions& options = {});

// Takes exactly these volumes, in the sender's order, into their empty directories; verifies them.
// kForbidden: the header is of another migration, epoch or set of volumes (nothing is touched).
Result<std::vector<VolumeOutcome>> receive_session(TlsStream& stream,
                                                   const SessionIdentity& identity,
                                                   const std::vector<SessionVolume>& volumes,
                                                   const SessionOptions& options = {});

}  // namespace transship::transfer
