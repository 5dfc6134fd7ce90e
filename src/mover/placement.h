// Placement: puts emptyDirs' content into the volumes that kubelet has made for a new pod, while
// the pod's gate or transship-runtime holds its containers back, and then lets them go on.
//
//   disk    every child is renamed from the source directory into the volume (one file system, in
//   the
//           raw view), then the volume's root gets the source root's owner, mode, times and xattrs
//   memory  copied into the tmpfs that kubelet mounted, and read back against the digest
//
// It fails closed: they go on only after every volume is there. A record says durably how far
// each volume is, so a later mover goes on where this one was killed; content once (partly) moved
// into one pod is never taken for complete for another. One thread at a time.
#pragma once

#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "mover/locks.h"
#include "mover/node.h"

namespace transship::mover {

class Placement {
 public:
  // Where a volume's content comes from.
  struct Source {
    // Of a disk volume: in the raw view. Invalid: there is nothing to place, what kubelet made
    // stays as it is.
    UniqueFd directory;
    std::string digest;  // of a memory volume; empty: whatever is read from the source now
  };
  using OpenSource = std::function<Result<Source>(const api::MoverVolume& volume)>;
  // What holds the pod's containers back.
  struct Hold {
    std::function<Status(const Deadline&)> wait;  // until kubelet has set up the pod's volumes
    std::function<Status()> let_go;
  };

  // `record` is the file's name in the migration's directory; `node` must outlive it.
  Placement(const Node& node, std::string migration_uid, std::string record);

  // The gate container of a pod.
  [[nodiscard]] Hold gate_of(const std::string& pod_uid) const;

  // Waits for the pod, places the emptyDirs among `volumes`, lets it go on.
  // kPreconditionFailed: a volume is not empty, of another medium, on another file system, or was
  // placed into another pod. Idempotent.
  [[nodiscard]] Status place(const std::string& pod_uid,
                             const std::vector<api::MoverVolume>& volumes,
                             const OpenSource& open_source, const Hold& hold,
                             const Deadline& deadline) const;

  // Forgets what was placed; part of a release.
  [[nodiscard]] Status forget() const;

 private:
  enum class Stage { kNone, kPlacing, kPlaced };
  // One volume in the record.
  struct Progress {
    Stage stage = Stage::kNone;
    timespec modified{};  // of the source's root before anything was moved out of it
    Locks locks;          // of the source, before they were taken off
  };
  [[nodiscard]] Result<Progress> read(int home, const std::string& pod_uid,
                                      const std::string& volume) const;
  [[nodiscard]] Status write(int home, const std::string& pod_uid, const std::string& volume,
                             const Progress& progress) const;
  [[nodiscard]] Status fill(const api::MoverVolume& volume, const Source& source, int target,
                            const Progress& progress, const Deadline& deadline) const;
  [[nodiscard]] Status place_volume(int home, const std::string& pod_uid,
                                    const api::MoverVolume& volume, const OpenSource& open_source,
                                    const Deadline& deadline) const;
  [[nodiscard]] Result<UniqueFd> open_target(const std::string& pod_uid,
                                             const api::MoverVolume& volume) const;

  const Node& node_;
  std::string migration_uid_;
  std::string record_;
};

}  // namespace transship::mover
