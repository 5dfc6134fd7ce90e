// Kept: directories of pinned emptyDirs that were renamed out of kubelet's sight, to
//   <kubelet root>/transship/<migration>/kept/VOLUME
// where they outlive kubelet, the mover and a reboot of the node. See mover/pin.h for when.
//
// A cover may still be mounted on such a directory; the raw view shows what lies below it. One
// thread at a time.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/node.h"

namespace transship::mover {

class Kept {
 public:
  // `node` must outlive it.
  Kept(const Node& node, std::string migration_uid);

  // ".../kept/VOLUME", relative to the kubelet root.
  [[nodiscard]] std::string path(const std::string& volume) const;

  [[nodiscard]] Result<bool> contains(const std::string& volume) const;

  // The directory, in the raw view; kNotFound where it is not kept.
  [[nodiscard]] Result<UniqueFd> open(const std::string& volume) const;

  // Renames the pod's directory to path(volume), durably (its own inode flags, which might forbid
  // that, are noted in kept.json before, and restored by restore_flags), together with what the
  // node has mounted on it. `uncover` unmounts that in the calling thread's mount namespace, which
  // is a passing one: rename(2) refuses a mount point of the caller's own.
  [[nodiscard]] Status take(const std::string& pod_uid, const std::string& volume,
                            const std::function<Status()>& uncover) const;

  // Sets the flags again that take() took off a volume's directory, also before a crash.
  [[nodiscard]] Status restore_flags(const std::string& volume) const;
  // Forgets them; part of a release.
  [[nodiscard]] Status forget() const;

  // kPreconditionFailed where any kept directory still has content.
  [[nodiscard]] Status check_empty() const;

 private:
  [[nodiscard]] std::string directory() const;
  [[nodiscard]] Status take_flags_off(int volumes, const std::string& volume) const;

  const Node& node_;
  std::string migration_uid_;
};

}  // namespace transship::mover
