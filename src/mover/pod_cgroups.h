// PodCgroups: the control groups of one pod, and what can be done to all its processes at once.
//
// A pod's cgroup is found by its UID in the directory's name, however the kubelet makes it:
// "pod<uid>" (cgroupfs driver) or "….slice" with "pod<uid>" where '-' is '_' (systemd driver).
// Searched are the unified hierarchy (cgroups v2) and every v1 one; on hybrid hosts the v1 freezer
// freezes. https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/freezer-subsystem.html
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "mover/deadline.h"

namespace transship::mover {

inline constexpr std::chrono::seconds kFreezeTimeout{10};
inline constexpr std::chrono::seconds kKillTimeout{60};

class PodCgroups {
 public:
  // Reads the tree anew. No cgroup of that pod is no error: found() is false then. kNotFound where
  // `cgroup_root` (".../sys/fs/cgroup") has no hierarchy at all, since nothing can be said from
  // that.
  static Result<PodCgroups> find(const std::string& cgroup_root, const std::string& pod_uid);

  [[nodiscard]] bool found() const { return !directories_.empty(); }

  // The pod's processes, the sandbox's own ("pause") among them; sorted, each once.
  [[nodiscard]] Result<std::vector<int>> processes() const;

  // Those of the container with this id of the runtime's, in its own cgroup below the pod's; none
  // is no error.
  [[nodiscard]] Result<std::vector<int>> processes_of(const std::string& container_id) const;

  // kNone: none left; kFrozen: the pod's own cgroup is frozen with all below, or each one below by
  // itself; kRunning otherwise.
  [[nodiscard]] Result<api::SourceProcesses> state() const;

  // Whether no process of the pod goes on: every one is stopped, or will be before it runs its own
  // code again. One that was put into a cgroup a moment ago (a probe of the kubelet's, by exec) may
  // still be on its way.
  [[nodiscard]] Result<bool> is_held() const;

  // Stops every process and waits until all are stopped. On an error they run again. kNotFound
  // where the pod has no cgroup, kPreconditionFailed where no freezer holds it. Idempotent.
  [[nodiscard]] Status freeze(const Deadline& deadline) const;

  // Of a frozen pod: each cgroup below the pod's is frozen by itself, and no longer by the pod's,
  // so that CRIU can thaw the one container it has hold of. No process runs meanwhile. After an
  // error anything between the two may be; freeze_together mends that.
  [[nodiscard]] Status freeze_apart(const Deadline& deadline) const;
  // The pod's own cgroup is frozen, and none below by itself.
  [[nodiscard]] Status freeze_together(const Deadline& deadline) const;

  // Lets them run, also those that were frozen apart; OK where nothing is frozen or there is no
  // cgroup any more.
  [[nodiscard]] Status thaw() const;

  // SIGKILLs every process in these cgroups and no other (by pidfd, membership checked after it is
  // open), thaws so that they can die, and waits until none is left. Then the pod's cgroup is
  // frozen: a kubelet that has not heard of the pod's end yet starts nothing in it that runs. OK
  // where there is none.
  [[nodiscard]] Status kill(const Deadline& deadline) const;

 private:
  enum class Freezer { kNone, kV1, kV2 };
  struct PodDirectory {
    std::string path;
    Freezer freezer = Freezer::kNone;
  };
  [[nodiscard]] const PodDirectory* freezer() const;
  [[nodiscard]] Result<bool> bar() const;
  [[nodiscard]] Status write_freezer(bool frozen) const;
  [[nodiscard]] Result<bool> is_frozen() const;
  [[nodiscard]] Result<bool> all_below_are_frozen() const;

  std::string pod_uid_;
  std::vector<PodDirectory> directories_;
};

}  // namespace transship::mover
