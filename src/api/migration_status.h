// MigrationStatus: how far a migration is; all that the controller knows about it between two
// looks. The sentence for each field is in crds/containermigrations.transship.dev.yaml.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/trial_dump.h"
#include "api/volume_status.h"

namespace transship::api {

// The condition types, in the order in which they become True.
namespace condition {
inline constexpr const char* kValidated = "Validated";
inline constexpr const char* kPrepared = "Prepared";
inline constexpr const char* kPreCopied = "PreCopied";
inline constexpr const char* kSourceStopped = "SourceStopped";
inline constexpr const char* kTransferred = "Transferred";
inline constexpr const char* kVerified = "Verified";
inline constexpr const char* kCommitted = "Committed";
inline constexpr const char* kRestored = "Restored";
inline constexpr const char* kSucceeded = "Succeeded";
}  // namespace condition

struct Condition {
  std::string type;
  std::string status;  // "True", "False", "Unknown"
  std::string reason;
  std::string message;
  int64_t observed_generation = 0;
  std::string last_transition_time;  // RFC 3339, seconds
  bool operator==(const Condition&) const = default;
};

struct Progress {
  int percent = 0;
  int64_t transferred_bytes = 0;
  int64_t total_bytes = 0;
  int64_t transferred_entries = 0;
  int64_t total_entries = 0;
  int64_t bytes_per_second = 0;
  bool operator==(const Progress&) const = default;
};

// One round of copying, over all volumes.
struct Round {
  int64_t bytes = 0;    // over the wire
  int64_t entries = 0;  // nodes and names that were sent
  double seconds = 0;   // until the target had read them back
  bool operator==(const Round&) const = default;
};

// One container whose layer or memory goes along, or that must not run again on the target.
struct ContainerStatus {
  std::string name;
  std::string id;            // containerd's, on the source
  std::string image_digest;  // as the source node's kubelet says it
  bool init = false;         // an init container: it has run, and does nothing on the target
  std::string restore;       // api::ContainerRestore::state, once the target has been told
  std::string message;
  bool operator==(const ContainerStatus&) const = default;
};

struct PreflightCheck {
  std::string check;
  std::string result;  // "Passed", "Warning", "Failed"
  std::string message;
  bool operator==(const PreflightCheck&) const = default;
};

// What the admission policy transship-hold reads while it is there: which pods to hold, the gate.
struct Hold {
  std::string owner_uid;
  std::string pod_name;
  std::map<std::string, std::string> labels;
  std::string gate_image;
  std::string gate_image_pull_policy;
  bool gate_guaranteed = false;
  std::string runtime_class{};  // of the pod, where its containers are restored
  bool operator==(const Hold&) const = default;
};

struct Rollback {
  std::string reason;
  std::string message;
  std::string time;
  bool operator==(const Rollback&) const = default;
};

struct PodPlace {
  std::string node;
  std::string pod_name;
  std::string pod_uid;
  bool operator==(const PodPlace&) const = default;
};

struct Owner {
  std::string kind;  // "StatefulSet", "ReplicaSet"; empty: a bare pod
  std::string name;
  std::string uid;
  bool operator==(const Owner&) const = default;
};

struct MigrationStatus {
  int64_t observed_generation = 0;
  std::string phase;  // derived from the conditions, for people; nothing branches on it
  std::string start_time;
  std::string completion_time;
  std::vector<Condition> conditions;
  PodPlace source;
  Owner owner;
  PodPlace target;
  std::vector<VolumeStatus> volumes;
  std::vector<ContainerStatus> containers;  // where their layers go along
  Progress progress;
  std::vector<Round> rounds;                         // those while the pod runs, then the final one
  std::optional<double> estimated_downtime_seconds;  // while the pod runs
  std::optional<TrialDump> trial_dump;
  std::optional<double> downtime_seconds;
  std::optional<double> total_seconds;
  std::vector<std::pair<std::string, std::string>> phase_times;  // phase, RFC 3339
  std::vector<PreflightCheck> preflight;
  int epoch = 0;  // of the movers; grows whenever they are made anew
  int attempts = 0;
  std::optional<Rollback> rollback;
  std::optional<Hold> hold;
  std::string stop_requested_time;  // RFC 3339 with microseconds, like the three below
  std::string stopped_time;
  std::string committed_time;
  std::string restored_time;
  std::map<std::string, std::string> notes;  // the controller's own
  bool operator==(const MigrationStatus&) const = default;

  [[nodiscard]] const Condition* find(std::string_view type) const;
  [[nodiscard]] bool is_true(std::string_view type) const;
  [[nodiscard]] VolumeStatus* volume(std::string_view name);
  [[nodiscard]] ContainerStatus* container(std::string_view name);
};

// The status as JSON, empty fields left out, so that a server-side apply removes what is gone.
nlohmann::json status_to_json(const MigrationStatus& status);

}  // namespace transship::api
