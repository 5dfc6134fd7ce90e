// MountTable: what is mounted where, as /proc/PID/mountinfo tells it (proc(5)), and the two mount
// operations that movers do.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace transship::mover {

struct Mount {
  std::string root;   // the directory of the file system that is mounted, e.g. "/" or "/var/a"
  std::string point;  // where, as a path in the table's own namespace; unescaped
  std::string file_system;  // "ext4", "tmpfs", ...
  std::string device;       // "major:minor"
  std::string options{};    // the file system's own, as written: "rw,lowerdir=/a,upperdir=/b"
  std::string peers;        // optional fields, e.g. "shared:12 master:3"; empty for a private mount

  // The value of one of the options, unescaped; empty where it has none; nullopt where it is not
  // set.
  [[nodiscard]] std::optional<std::string> option(std::string_view key) const;
};

class MountTable {
 public:
  // `mountinfo` is a file such as "/proc/1/mountinfo". The order is the kernel's: later mounts at
  // one point lie on top.
  static Result<MountTable> read(const std::string& mountinfo);

  [[nodiscard]] const std::vector<Mount>& mounts() const { return mounts_; }
  // The topmost mount at exactly `point`; null if there is none.
  [[nodiscard]] const Mount* at(std::string_view point) const;
  // The mount that `path` (absolute, without symlinks) lies on; null for an empty table.
  [[nodiscard]] const Mount* containing(std::string_view path) const;
  // Points at or below `directory`.
  [[nodiscard]] std::vector<std::string> below(std::string_view directory) const;

 private:
  std::vector<Mount> mounts_;
};

// Mounts the directory `source` at `target` too, in a peer group of its own: what is later mounted
// over `source` does not show at `target` (a plain bind of a shared mount would carry it there).
// Not recursive. Where the mount around `target` is shared, the new mount reaches that one's peers.
Status bind_apart(const std::string& source, const std::string& target);

// Takes the topmost mount at `target` away, lazily where it is busy (MNT_DETACH). Idempotent: no
// mount there is OK.
Status unmount(const std::string& target);

}  // namespace transship::mover
