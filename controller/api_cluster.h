// ApiCluster: the Cluster seam over the Kubernetes client.
#pragma once

#include "controller/cluster.h"
#include "kube/client.h"

namespace transship::controller {

class ApiCluster : public Cluster {
 public:
  explicit ApiCluster(kube::Client& client) : client_(client) {}

  Result<std::optional<Object>> get(Kind kind, const std::string& namespace_name,
                                    const std::string& name) override;
  Result<std::vector<Object>> list(Kind kind, const std::string& namespace_name,
                                   const std::string& label_selector, Freshness freshness) override;
  Result<Object> create(Kind kind, const Object& object, bool dry_run) override;
  Status patch(Kind kind, const std::string& namespace_name, const std::string& name,
               const Object& body) override;
  Status remove(Kind kind, const std::string& namespace_name, const std::string& name,
                const DeleteOptions& options) override;
  Result<Object> apply_status(const Object& object) override;

 private:
  kube::Client& client_;
};

}  // namespace transship::controller
