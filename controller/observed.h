// Observed: everything one decision is made from, as one value. observe.cc fills it; decide reads
// it. Objects are as the API server gave them; an absent optional means the server said 404.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/migration.h"
#include "api/mover_protocol.h"
#include "controller/cluster.h"
#include "controller/objects.h"

namespace transship::controller {

struct ObservedMover {
  std::optional<Object> job;
  std::optional<Object> pod;
  std::string address;                   // the pod's IP, empty until it has one
  std::optional<api::MoverState> state;  // what it answered now
  double silent_seconds = 0;  // since it last answered, where it has an address but does not answer
  std::string
      lost;  // why no answer can come any more (its pod failed or went); empty while one may
};

struct ObservedVolume {
  std::optional<Object> claim;          // by claim name, in the pod's namespace
  std::optional<Object> source_volume;  // PersistentVolume
  std::optional<Object> target_volume;  // PersistentVolume
  std::optional<Object> staging_claim;
  std::optional<Object> storage_class;  // of the claim, or the one that the target asks for
  std::vector<std::string> other_pods;  // that use the claim too
};

struct Observed {
  api::Migration migration;
  std::optional<Object> source_pod;  // by name, only while it has the pinned UID
  std::optional<Object> other_pod;   // a pod of that name with another UID
  std::vector<Object>
      replacements;  // what the owner made instead of the source pod, none of them deleting
  std::optional<Object>
      restored_pod;  // the pod recorded as brought up (status.h), also while it is going
  std::map<std::string, ObservedVolume> volumes;  // by the pod's name for the volume
  std::optional<Object> owner_object;             // StatefulSet or ReplicaSet
  std::optional<Object> owner_deployment;         // of the ReplicaSet
  std::optional<Object> source_node;
  std::optional<Object> target_node;  // the one named in spec or recorded in status
  std::optional<Object> reservation;
  std::optional<Object> saved_pod;  // from the migration's own Secret: the source pod's manifest,
  std::map<std::string, Object> saved_claims;  // and its claims, by the pod's names for the volumes
  // What in the operator's namespace carries the migration's label, also of earlier epochs and
  // attempts: Jobs and pods, and, once there is nothing to do but to take them away, Secrets and
  // claims.
  std::vector<std::pair<Kind, Object>> children;
  bool tls_secret = false;
  bool runtime_class = false;         // the RuntimeClass that restores containers is there
  std::vector<Object> runtime_pods;   // of its installer, on all nodes; until Prepared
  bool hold_policy = false;           // the admission policy transship-hold is installed
  std::optional<bool> hold_in_force;  // a dry-run create was held; absent: not tried
  std::string rival;                  // another unfinished migration of the same pod
  ObservedMover sender;
  ObservedMover receiver;

  [[nodiscard]] const ObservedMover& mover(api::MoverRole role) const {
    return role == api::MoverRole::kSender ? sender : receiver;
  }
};

}  // namespace transship::controller
