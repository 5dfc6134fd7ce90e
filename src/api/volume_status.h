// VolumeStatus: one volume of the pod, or another tree of it (TreeKind in mover_task.h): what is
// done with it, and from where to where.
#pragma once

#include <cstdint>
#include <string>

namespace transship::api {

enum class VolumePlan {
  kCopy,      // content is copied to the target
  kBlank,     // left out by the user, but bound to the source node: an empty one takes its place
  kReattach,  // the target attaches the same volume
  kRecreate,  // kubelet makes it anew (configMap, secret, projected, downwardAPI, left-out
              // emptyDirs)
};

struct VolumeStatus {
  std::string name;
  // "EmptyDir", "HostPath", "Local", "ConfigMap", ...; "Layer", "Memory", "SharedMemory"
  std::string kind;
  VolumePlan plan = VolumePlan::kRecreate;
  std::string medium;
  std::string container;      // of a Layer or Memory
  bool ephemeral = false;     // a generic ephemeral volume: its claim belongs to the pod
  std::string claim_name;     // empty: not a claim
  std::string claim_uid;      // of the claim that the source pod used
  std::string source_volume;  // PersistentVolume names
  std::string target_volume;
  std::string source_reclaim_policy;  // as they were before the migration set Retain
  std::string target_reclaim_policy;
  std::string source_path;  // on the node
  std::string target_path;
  int64_t bytes = 0;
  int64_t entries = 0;
  int64_t transferred_bytes = 0;
  std::string digest;
  std::string message;
  bool operator==(const VolumeStatus&) const = default;

  [[nodiscard]] bool swaps_claim() const {
    return !claim_name.empty() && (plan == VolumePlan::kCopy || plan == VolumePlan::kBlank);
  }
};

}  // namespace transship::api
