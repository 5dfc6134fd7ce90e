// Destinations: where a receiver writes the volumes, and the durable record (received.json) of what
// is this migration's: it alone allows that content be emptied.
//
//   a PersistentVolume  its own directory on the node; it must be empty (an ext file system's
//   lost+found
//                       aside), or have been found empty by this migration before: then what an
//                       earlier try wrote is emptied first
//   an emptyDir         transship/<migration>/staging/<volume> below the kubelet root, fresh each
//   time
//   a layer             staged in the same way
//   memory, /dev/shm    on a tmpfs of the migration's own (memory_trees.h)
// One thread at a time.
#pragma once

#include <string>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "mover/memory_trees.h"
#include "mover/node.h"

namespace transship::mover {

class Destinations {
 public:
  // `node` must outlive it.
  Destinations(const Node& node, std::string migration_uid);

  // The directory to write `volume` into; recorded as ours, and as incomplete, before it is
  // touched. It is empty, or, where it may be `kept`, has what an earlier try of ours wrote into
  // it. kPreconditionFailed where a PersistentVolume holds anything not ours.
  [[nodiscard]] Result<UniqueFd> prepare(const api::MoverVolume& volume, bool kept,
                                         const Deadline& deadline) const;

  // Records durably that all of `volume` is there, synced and read back with `digest`.
  [[nodiscard]] Status complete(const std::string& volume, const std::string& digest) const;

  // The digest of a complete volume; kPreconditionFailed where it has not been received completely.
  [[nodiscard]] Result<std::string> digest(const std::string& volume) const;

  // A complete emptyDir's staged content: in the raw view, so that it can be renamed from there.
  [[nodiscard]] Result<UniqueFd> open_staged(const std::string& volume) const;

  // Where the node sees a complete layer, memory or /dev/shm. After a reboot memory may be gone.
  [[nodiscard]] Result<std::string> path(const api::MoverVolume& tree) const;

  // Removes staged volumes, memory and the record; `discard` first empties the PersistentVolumes
  // that are ours. A volume that is gone or another one now is left alone. Idempotent.
  [[nodiscard]] Status release(bool discard, const Deadline& deadline) const;

 private:
  [[nodiscard]] Result<UniqueFd> prepare_volume(const api::MoverVolume& volume, bool kept,
                                                const Deadline& deadline) const;
  [[nodiscard]] Result<UniqueFd> prepare_staging(const std::string& volume, bool kept,
                                                 const Deadline& deadline) const;

  [[nodiscard]] Result<UniqueFd> prepare_memory(const std::string& tree, bool kept,
                                                const Deadline& deadline) const;

  const Node& node_;
  std::string migration_uid_;
  MemoryTrees memory_;
};

}  // namespace transship::mover
