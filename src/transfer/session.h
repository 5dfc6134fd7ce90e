// A session: all volumes of one migration over mutual TLS, from its header to the receiver's
// acknowledgement (docs/rounds.md). Any number of rounds while the volumes are in use,
// then the final one.
//
//   sender                                receiver
//   header: version, migration, epoch,
//           session id, volumes,
//           announced totals          ->
//                                      <- accepted
//                                      <- where there is something already: all of it
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
// Either end may say "failed" with a reason instead, which the other end returns as its error. A
// connection that breaks is followed by another one with the same session id, over which the
// receiver says what it has; the sender goes on from there.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "transfer/frame_compression.h"
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
  // Whether project ids are carried, and compared. The same at both ends. Not for emptyDirs, whose
  // ids are the node's: kubelet gives them out for its quotas.
  bool projects = true;
  // The tree is the upper directory of an overlay mount: directories' "opaque" goes along
  // (whiteouts are devices). The same at both ends: the header says it.
  bool overlay = false;
};

inline XattrScope xattr_scope(const SessionVolume& volume) {
  return volume.overlay ? XattrScope::kUpperDirectory : XattrScope::kVolume;
}

struct SessionOptions {
  Until until;
  RateLimiter* limiter = nullptr;      // sending only
  std::function<void()> on_sent = {};  // sending only: all is handed over, nothing verified yet
  Compression compression = Compression::kAuto;  // sending only
  ReceiveLimits limits = {};  // for each volume; sending: on what a receiver says it has
  // Receiving only: so many entries may a volume have beyond four times those announced of it.
  std::optional<int64_t> unannounced = {};
  bool resume = false;  // receiving only: the directories may hold something, which is kept where
                        // the volume has it and goes where it has not
  // How long either end waits for a connection after one that broke, while nothing comes on.
  std::chrono::seconds patience{120};
};

struct VolumeOutcome {
  std::string name;
  Summary sent;      // what the sender read and sent
  Summary verified;  // what the receiver read back from disk; equal
};

// Takes exactly these volumes, in the sender's order, into their directories, which are empty
// unless options.resume; verifies them. Returns after the final round. kForbidden: the header is of
// another migration, epoch or set of volumes (nothing is touched).
Result<std::vector<VolumeOutcome>> receive_session(TlsStream& stream,
                                                   const SessionIdentity& identity,
                                                   const std::vector<SessionVolume>& volumes,
                                                   const SessionOptions& options = {});

// The same over connections from the listener: after one that broke the next one goes on, if it
// comes from the same sender; others are sent away. kUnavailable: none came in options.patience.
Result<std::vector<VolumeOutcome>> receive_session(TlsListener& listener,
                                                   const SessionIdentity& identity,
                                                   const std::vector<SessionVolume>& volumes,
                                                   const SessionOptions& options = {});

}  // namespace transship::transfer
