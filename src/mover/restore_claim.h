// RestoreClaim: the mover's side of what transship-runtime restores on this node (runtime/claim.h):
// written for the new pod before it may be scheduled, read while its containers are restored,
// removed when they run. A record (claimed.json) says durably for which pod. One thread at a time,
// but for claimed_pod() and restores().
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/mover_task.h"
#include "base/result.h"
#include "mover/node.h"
#include "mover/placement.h"
#include "runtime/claim.h"

namespace transship::mover {

class RestoreClaim {
 public:
  // `node` must outlive it.
  RestoreClaim(const Node& node, std::string migration_uid);

  // Where the node sees what was received of a tree; kPreconditionFailed where that is not all.
  using Received = std::function<Result<std::string>(const api::MoverVolume& tree)>;

  // For the pod and the containers of the request. The claim of a pod before it is withdrawn, and
  // never acted on any more. kPreconditionFailed: a tree has not been received, the pod has another
  // claim already, or something of the pod before has run or got its emptyDirs. Idempotent.
  [[nodiscard]] Status write(const api::TaskRequest& request, const Received& received) const;

  // Holds the pod's containers back until its emptyDirs are placed: its sandbox is not made before.
  [[nodiscard]] Placement::Hold sandbox_of(const std::string& pod_uid) const;

  // The UID of the pod; empty before there is a claim.
  [[nodiscard]] Result<std::string> claimed_pod() const;

  // How far each container is; empty before there is a claim.
  [[nodiscard]] Result<std::vector<api::ContainerRestore>> restores() const;

  // What has failed starts afresh, on its layer. kNotFound where there is no claim. Idempotent.
  [[nodiscard]] Status cold_start(const std::string& pod_uid) const;

  // Removes it. kPreconditionFailed while a container of a pod that is still there does not run
  // yet: it would be started without what was moved. None there is OK.
  [[nodiscard]] Status release() const;

 private:
  struct Record {
    std::string pod_uid;
    std::vector<std::string> withdrawn;  // pods before it
  };
  [[nodiscard]] Result<Record> record() const;
  [[nodiscard]] Status write_record(const Record& record) const;
  [[nodiscard]] Status withdraw(const std::string& pod_uid) const;
  [[nodiscard]] Status remove_claim(const std::string& pod_uid, bool must_run) const;
  [[nodiscard]] Result<runtime::PodClaim> claim_of(const std::string& pod_uid) const;

  const Node& node_;
  std::string migration_uid_;
};

}  // namespace transship::mover
