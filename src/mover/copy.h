// Copies of directory trees for people, tests and benchmarks, outside of any cluster: with the
// session, the stream and the verification that the mover Jobs use.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "transfer/frame_compression.h"
#include "transfer/round_sender.h"
#include "transfer/spill.h"
#include "transfer/tree.h"

namespace transship::mover {

struct CopyOptions {
  std::string from;  // a directory
  std::string to;    // an empty directory; made where it is missing
  // `to` may hold an earlier copy, or a part of one, or anything: what is as in `from` stays, the
  // rest is sent, or goes.
  bool resume = false;
  int64_t bandwidth_bytes_per_second = 0;  // 0: no limit
  transfer::Compression compression = transfer::Compression::kAuto;
  // At least 1. In all but the last round the tree may be in use; each sends what changed since the
  // one before.
  int rounds = 1;
  // Run by sh(1) between two rounds, with ROUND (1, 2, …), the one that comes next, in its
  // environment. Empty: nothing is.
  std::string between{};
  bool projects = true;  // project ids are copied, too
  // `from` is the upper directory of an overlay mount, which goes on to be one: whiteouts and
  // opaque directories are copied as such.
  bool overlay = false;
  std::chrono::seconds deadline{0};  // of all of it; 0: none
  // Sender and receiver are copiers in their sandbox, which takes root. False: they may do all that
  // the caller may.
  bool confined = true;
  // Of what each end knows of the tree: bytes in memory; what is beyond goes to a file without a
  // name in this directory. Empty: the system's for temporary files.
  size_t inventory_memory = transfer::SpillOptions::kBound;
  std::string spill_directory{};
};

struct CopyRound {
  transfer::RoundTotals sent;
  double sent_seconds = 0;  // from the look at the tree until all was handed over
  double seconds = 0;       // all of it: the sync and the reading back, too
};

struct CopyReport {
  transfer::Summary summary;  // of what was read back, and equal to what was sent
  std::vector<CopyRound> rounds;
};

// Copies the tree through a sender and a receiver that are copiers, connected over loopback with
// mutual TLS. kInvalid: `from` is no directory, or `to` lies within it; kPreconditionFailed: `to`
// is not empty (without `resume`), `between` failed, or there can be no sandbox; kTimeout: the
// deadline has passed, also where the storage of either end hangs; otherwise what failed at either
// end. After a failure `to` holds part of the tree.
Result<CopyReport> copy(const CopyOptions& options);

// Writes the directory as a pax tar to the descriptor, which is called `name` in messages. GNU tar
// lists and extracts it. kInvalid where the descriptor is a terminal.
Result<transfer::Summary> export_tree(const std::string& from, int to, const std::string& name,
                                      bool confined = true);

// Takes what export_tree wrote into the directory, an empty one or a new one; syncs, reads it back
// and compares. Errors as those of copy; kCorrupt where it is not such a tar, or something follows.
Result<transfer::Summary> import_tree(int from, const std::string& name, const std::string& to,
                                      bool confined = true);

}  // namespace transship::mover
