// Cluster: what the controller does with the API server, and Movers: with the movers. Two narrow
// seams: observe and execute know nothing else of the outside, and tests put faults behind them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "controller/objects.h"

namespace transship::controller {

// The kinds of objects that the controller reads or writes.
enum class Kind {
  kMigration,
  kPod,
  kClaim,
  kVolume,
  kJob,
  kSecret,
  kNode,
  kStatefulSet,
  kReplicaSet,
  kDeployment,
  kStorageClass,
  kMutatingPolicy,
  kRuntimeClass,
  kTransshipNode,
};

struct DeleteOptions {
  std::string uid = {};               // precondition; empty: none
  std::string resource_version = {};  // precondition; empty: none
  std::optional<int> grace_period_seconds = {};
};

// Of a list. kLatest is what etcd holds now: an API server that lists from its watch cache waits
// until that has caught up, which takes up to 100 ms where nobody has written. kCached is what the
// API server has at hand, perhaps of a while ago: only where acting on it is safe all the same.
enum class Freshness { kLatest, kCached };

// Every call is one request and reads or writes the API server itself, never a cache of ours. Safe
// from any thread.
class Cluster {
 public:
  virtual ~Cluster() = default;

  // nullopt where there is no such object (404).
  virtual Result<std::optional<Object>> get(Kind kind, const std::string& namespace_name,
                                            const std::string& name) = 0;
  virtual Result<std::vector<Object>> list(Kind kind, const std::string& namespace_name,
                                           const std::string& label_selector,
                                           Freshness freshness) = 0;
  virtual Result<Object> create(Kind kind, const Object& object, bool dry_run) = 0;
  // JSON merge patch. A body with metadata.uid or metadata.resourceVersion is a precondition:
  // kConflict.
  virtual Status patch(Kind kind, const std::string& namespace_name, const std::string& name,
                       const Object& body) = 0;
  // Children of what is deleted go in the background. An object that is not there is a success.
  virtual Status remove(Kind kind, const std::string& namespace_name, const std::string& name,
                        const DeleteOptions& options) = 0;
  // Server-side apply of the whole status; with the resource version in `object` it is a
  // compare-and-swap.
  virtual Result<Object> apply_status(const Object& object) = 0;
};

struct MoverAddress {
  std::string host;  // the mover's pod IP
  std::string migration_uid;
  api::MoverRole role = api::MoverRole::kSender;
  int epoch = 0;
  std::string ca;  // PEM; the three from the migration's Secret
  std::string certificate;
  std::string key;
};

class Movers {
 public:
  virtual ~Movers() = default;
  virtual Result<api::MoverState> state(const MoverAddress& address) = 0;
  virtual Result<api::TaskState> run(const MoverAddress& address, api::TaskKind kind,
                                     const api::TaskRequest& request) = 0;
  // Connections of migrations that have ended are closed.
  virtual void forget(const std::string& migration_uid) = 0;
};

}  // namespace transship::controller
