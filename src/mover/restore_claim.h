// RestoreClaim: the mover's side of what transship-runtime restores on this node (runtime/claim.h):
// written for the new pod before its gate opens, read while its containers are restored, removed
// when they run. A record (claimed.json) says durably for which pod. One thread at a time, but for
// restores().
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/mover_task.h"
#include "base/result.h"
#include "mover/node.h"
#include "runtime/claim.h"

namespace transship::mover {

class RestoreClaim {
 public:
  // `node` must outlive it.
  RestoreClaim(const Node& node, std::string migration_uid);

  // Where the node sees what was received of a tree; kPreconditionFailed where that is not all.
  using Received = std::function<Result<std::string>(const api::MoverVolume& tree)>;

  // For the pod and the containers of the request. kPreconditionFailed: the pod's sandbox does not
  // run under transship-runtime, a tree has not been received, or the pod has another claim
  // already. Idempotent.
  [[nodiscard]] Status write(const api::TaskRequest& request, const Received& received) const;

  // How far each container is; empty before there is a claim.
  [[nodiscard]] Result<std::vector<api::ContainerRestore>> restores() const;

  // What has failed starts afresh, on its layer. kNotFound where there is no claim. Idempotent.
  [[nodiscard]] Status cold_start(const std::string& pod_uid) const;

  // Removes it. kPreconditionFailed while a container of a pod that is still there does not run
  // yet: it would be started without what was moved. None there is OK.
  [[nodiscard]] Status release() const;

 private:
  [[nodiscard]] Result<std::optional<std::string>> claimed_pod() const;
  [[nodiscard]] Result<runtime::PodClaim> claim_of(const std::string& pod_uid) const;

  const Node& node_;
  std::string migration_uid_;
};

}  // namespace transship::mover
