// Pins: keep a pod's emptyDirs on its node through the pod's deletion.
//
// For each volume, below <kubelet root>/transship/<migration>/:
//   pins/VOLUME    the real directory (or tmpfs), mounted a second time, apart from its peers
//   covers/VOLUME  an empty directory of the disk's file system, mounted over the emptyDir's own
//   path
// kubelet then finds nothing to delete, cannot remove the mount point, and the pod object stays
// Terminating. A cover must not be a tmpfs: kubelet would take it for a memory emptyDir and unmount
// it. The mounts reach the node by propagation, so they outlive the mover; they do not outlive a
// reboot. Once the pod's deletion cannot be taken back, keep() does away with that limit: it
// renames the real directories of the disk to
//   kept/VOLUME
// where no kubelet looks, while the pod's processes may still be ending. (Not before the deletion:
// a pod that went on after a reboot would find its volumes empty.) A medium-Memory volume stays a
// mount: it does not outlive a reboot in any pod.
//
// Every step may be the last one before a crash: each call reads the mount tables and the
// directories and goes on. pins.json says, durably, which pod and volumes, and in which boot of the
// node. One thread at a time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "mover/kept.h"
#include "mover/mount_table.h"
#include "mover/node.h"

namespace transship::mover {

class Pins {
 public:
  // `node` must outlive it.
  Pins(const Node& node, std::string migration_uid);

  // Pins the emptyDirs among `volumes`. kNotFound where the pod has no such directory; kConflict
  // where another pod is pinned for this migration; kPreconditionFailed where a container has the
  // volume mounted with mountPropagation, since the cover would show inside it, or where the mounts
  // do not reach the node.
  [[nodiscard]] Status pin(const std::string& pod_uid,
                           const std::vector<api::MoverVolume>& volumes);

  // Renames the pinned disk volumes away from kubelet, durably. Only for a pod that is being
  // deleted. kPreconditionFailed where pins.json does not name the pod; kNotFound where a volume is
  // neither pinned nor kept.
  [[nodiscard]] Status keep(const std::string& pod_uid,
                            const std::vector<api::MoverVolume>& volumes) const;

  // The pod of pins.json; nullopt where nothing is pinned.
  [[nodiscard]] Result<std::optional<std::string>> pinned_pod() const;

  // The real content of a pinned or kept volume, tmpfs or not; kNotFound where it is neither.
  [[nodiscard]] Result<UniqueFd> open(const std::string& volume) const;

  // The same directory of a disk volume in the raw view, where its content can be renamed out of
  // it.
  [[nodiscard]] Result<UniqueFd> open_raw(const std::string& pod_uid,
                                          const std::string& volume) const;

  // True where the node has been booted anew since the volume was pinned, and its pin is gone.
  [[nodiscard]] Result<bool> lost_by_reboot(const std::string& volume) const;

  // True while any mount of this migration is on the node.
  [[nodiscard]] Result<bool> in_place() const;

  // Takes covers, then pins, then their directories away. Data that were only pinned stay where
  // kubelet made them. Data that were kept go where `discard` is set; where it is not, they must
  // have been moved out. kPreconditionFailed where a mount, or kept data, are still there after
  // all: nothing is deleted then.
  [[nodiscard]] Status release(bool discard, const Deadline& deadline) const;

 private:
  [[nodiscard]] std::string pin_path(const std::string& volume) const;
  [[nodiscard]] std::string cover_path(const std::string& volume) const;
  [[nodiscard]] Result<bool> is_cover(const Mount* mount, const std::string& volume) const;
  [[nodiscard]] Status pin_volume(const std::string& pod_uid, const api::MoverVolume& volume) const;
  [[nodiscard]] Status keep_volume(const std::string& pod_uid, const std::string& volume) const;
  [[nodiscard]] Status uncover(const std::string& relative, const std::string& volume) const;
  [[nodiscard]] Status unpin(const std::string& volume) const;
  [[nodiscard]] Status check_not_propagated(const std::string& pod_uid,
                                            const std::string& volume) const;
  [[nodiscard]] Status check_on_node(const std::string& pod_uid, const std::string& volume) const;
  [[nodiscard]] Status check_in_raw_view(const std::string& relative) const;

  const Node& node_;
  std::string migration_uid_;
  Kept kept_;
};

}  // namespace transship::mover
