// The copy of a directory tree: scanned, written as a tar (docs/stream.md), read and verified.
//
// Exact: contents, types, modes with setuid, setgid and sticky, numeric owners, modification times
// in nanoseconds (directories' too), extended attributes (user.*, trusted.* but overlayfs's own,
// security.capability, POSIX ACLs), inode flags and project ids (inode_attributes.h), hard links
// within the tree, holes, names of any bytes. Paths in
// messages are quoted and escaped. Trees are named by a held directory descriptor; nothing outside
// it is ever read or written: no symbolic link is followed and no mount point crossed.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "transfer/byte_stream.h"
#include "transfer/manifest.h"
#include "transfer/rate_limiter.h"
#include "transfer/until.h"
#include "transfer/xattrs.h"

namespace transship::transfer {

// What a tree holds.
struct TreeTotals {
  int64_t bytes = 0;    // sum of regular files' sizes, holes included, hard-linked ones once
  int64_t entries = 0;  // every name: files, directories and all others, and the root
  bool operator==(const TreeTotals&) const = default;
};

// What went over a stream, or was found on disk.
struct Summary {
  TreeTotals totals;
  std::string digest;  // "sha256:…", the volume digest (docs/volume-digest.md)
  // The same of what that leaves out: extended attributes, device numbers, hard links. Rounds only.
  std::string rest = {};
};

// Live counters; written by the transfer, read by anybody.
struct Progress {
  std::atomic<int64_t> announced_bytes{0};  // receiving: what the sender's header said
  std::atomic<int64_t> announced_entries{0};
  std::atomic<int64_t> bytes{0};
  std::atomic<int64_t> entries{0};
  std::atomic<int64_t> verified_bytes{0};
  std::atomic<int64_t> verified_entries{0};
};

// What neither end takes on: a file of more bytes, holes included (16 TiB, the most that ext4 has),
// costs nothing to make, and hours to hash.
inline constexpr int64_t kLargestFile = int64_t{16} << 40U;

// Bounds on what a receiver takes; beyond them the stream is refused (kCorrupt).
struct ReceiveLimits {
  int64_t bytes = INT64_MAX;  // all files' sizes
  int64_t entries = 200'000'000;
  size_t header_bytes = 1 << 20;  // one entry's pax records
  size_t path_bytes = 64 << 10;   // one entry's path
  size_t extents = 1'000'000;     // data ranges of one sparse file
  // What a receiver may say it has of a volume, as bytes over the wire. (bytes and entries bound
  // what that is, too.)
  int64_t held_bytes = int64_t{64} << 30;
};

struct SendOptions {
  Until until;
  Progress* progress = nullptr;    // may be null
  RateLimiter* limiter = nullptr;  // null: no limit; may be shared by volumes
  bool projects = true;            // project ids are carried
};

struct ReceiveOptions {
  Until until;
  Progress* progress = nullptr;
  ReceiveLimits limits;
  bool projects = true;  // project ids are carried; else what the directory hands down stays
  XattrScope xattrs = XattrScope::kVolume;  // rounds only
};

// A received tree: written and closed, not yet synced. Give `manifest` to verify_tree.
struct Received {
  Summary summary;
  Manifest manifest;
};

// Counts a tree, reading metadata only; it may be in use meanwhile. kInvalid where it holds a mount
// point, or, as the upper directory of an overlay mount, what cannot go without the layers below it
// (xattrs.h).
Result<TreeTotals> scan_tree(int directory, const Until& until = {},
                             XattrScope xattrs = XattrScope::kVolume);

// Writes the tree to `sink`, complete with its end record. kConflict: something changed or vanished
// while it was read; kInvalid: a mount point inside or a name beyond the format's bounds.
Result<Summary> send_tree(int directory, Sink& sink, const SendOptions& options = {});

// Writes a stream into the empty directory (an empty lost+found may be there: it is taken over, or
// removed where the stream has none). On success everything the end record says is there.
// kCorrupt: the stream is short, changed, or not one send_tree would write; kNoSpace: the file
// system is full; kPreconditionFailed: not empty. After a failure the directory holds part of the
// tree. Reads exactly to the end of the stream, no further.
Result<Received> receive_tree(int directory, Source& source, const ReceiveOptions& options = {});

// syncfs, then reads everything back (the page cache dropped first, where the file system can) and
// compares it with the manifest. kCorrupt names the paths that differ (the first few).
Result<Summary> verify_tree(int directory, const Manifest& manifest, const Until& until = {},
                            Progress* progress = nullptr);

// The volume digest of a tree as it is now, without syncing; as the recipe in
// docs/volume-digest.md.
Result<Summary> digest_tree(int directory, const Until& until = {}, Progress* progress = nullptr);

// send_tree into receive_tree within this process, then verify_tree. The Summary is of what was
// read back, and equal to what was sent.
Result<Summary> copy_tree(int from, int to, const Until& until = {}, Progress* progress = nullptr,
                          bool projects = true);

}  // namespace transship::transfer
