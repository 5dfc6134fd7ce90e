// MoverClient: the Movers seam over HTTPS. Each mover is dialled at its pod's IP and recognised by
// the name in its certificate, which only its migration's CA signs; TLS 1.3 alone.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "controller/cluster.h"
#include "kube/transport.h"

namespace transship::controller {

class MoverClient : public Movers {
 public:
  Result<api::MoverState> state(const MoverAddress& address) override;
  Result<api::TaskState> run(const MoverAddress& address, api::TaskKind kind,
                             const api::TaskRequest& request) override;
  void forget(const std::string& migration_uid) override;

 private:
  Result<std::shared_ptr<kube::Transport>> transport(const MoverAddress& address);
  Result<kube::Response> send(const MoverAddress& address, const kube::Request& request);

  Mutex mutex_;
  std::map<std::string, std::shared_ptr<kube::Transport>> transports_
      GUARDED_BY(mutex_);  // by mover name and IP
};

}  // namespace transship::controller
