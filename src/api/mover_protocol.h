// The control protocol between the controller (client) and a mover (server): JSON over mutual TLS.
//
//   GET  /v1/state          -> MoverState
//   PUT  /v1/tasks/KIND     TaskRequest -> TaskState; 202 when accepted, 200 when it was there
//
// A mover runs one task of a kind at a time, each in the background. PUT of a task that is running
// or has succeeded with an equal body changes nothing and answers its state, so a controller that
// lost a reply, or a new leader, simply says it again; a different body is 409 unless the earlier
// one has failed, or only the bandwidth limit differs: a running send then takes that over. Nothing
// here expires: the controller polls the state. A request names the migration and the epoch; a
// mover of others refuses it with 403.
//
// Which kinds a role knows, and what they do to the node:
//   sender:   inspect  read only: sizes, entries and file systems of the volumes, the pod's cgroup
//             freeze   stops every process of the pod (cgroup freezer); undone by thaw
//             thaw
//             pin      holds the pod's emptyDirs through its deletion (bind mounts, mover/pin.h)
//             keep     once the pod is being deleted: the pins outlive a reboot, too
//             kill     SIGKILLs every process of the pod's cgroups, thawing if need be; waits for
//                      none left
//             send     streams the volumes to the receiver (or to archive files), once
//             place    moves pinned or kept emptyDirs into a new pod on this node (rollback) and
//                      opens its gate
//             release  takes pins and staging away; the mover then only answers GET
//   receiver: inspect  read only: free bytes and inodes at the destinations
//             receive  listens for one session (or reads archive files), writes, syncs, reads back
//             place    moves staged emptyDirs into the pod and opens its gate
//             release  takes staging away (and PV contents, where `discard` is set)
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace transship::api {

inline constexpr int kControlPort = 9443;  // TCP, both roles
inline constexpr int kDataPort = 9444;     // TCP, receiver

enum class MoverRole { kSender, kReceiver };
std::string_view to_string(MoverRole role);  // "sender", "receiver"

// The DNS SAN in a mover's certificate, e.g. "3f0c….receiver.1"; each side pins the other's.
std::string mover_name(const std::string& migration_uid, MoverRole role, int epoch);

// The SAN of the certificate that the controller dials movers with.
std::string controller_name(const std::string& migration_uid);

enum class TaskKind {
  kInspect,
  kFreeze,
  kThaw,
  kPin,
  kKeep,
  kKill,
  kSend,
  kReceive,
  kPlace,
  kRelease
};
std::string_view to_string(TaskKind kind);  // "inspect", ...
std::optional<TaskKind> parse_task_kind(std::string_view text);

// One volume of the pod as a mover sees it.
struct MoverVolume {
  std::string name;        // the pod's name for it; also names it in status
  bool empty_dir = false;  // true: found by pod UID and name; false: `node_path` says where
  bool memory = false;     // an emptyDir with medium Memory
  std::string node_path;  // absolute, as the node's own mount namespace sees it (a PV's hostPath or
                          // local path)
  bool operator==(const MoverVolume&) const = default;
};

struct TaskRequest {
  std::string migration_uid;
  int epoch = 0;
  std::string pod_uid;         // the pod that the task works on: source pod; for place the new pod
  std::string source_pod_uid;  // place by a sender: whose pins are placed
  std::vector<MoverVolume> volumes;  // those that the task works on
  std::string peer_host;             // send: the receiver's IP
  std::string archive_directory;  // send, receive: under the mounted archive claim; empty = Direct
  int64_t bandwidth_bytes_per_second = 0;  // send; 0 = no limit. May be changed while it runs
  int64_t deadline_seconds = 0;            // after which the task fails by itself; 0 = none
  // release by a receiver: also empty the destination PVs (only before the commit); by a sender:
  // also delete the emptyDirs it kept (only after the commit).
  bool discard = false;
  bool operator==(const TaskRequest&) const = default;
};

struct VolumeReport {
  std::string name;
  int64_t bytes = 0;       // inspect, send, receive: sum of regular files' sizes
  int64_t entries = 0;     // files, directories and all others, the root included
  int64_t bytes_done = 0;  // live while send or receive runs
  int64_t entries_done = 0;
  std::string digest;  // send: of what was read and sent. "sha256:…", see docs/volume-digest.md
  std::string verified_digest;  // receive: of what was read back from disk after sync
  int64_t free_bytes = 0;       // inspect by a receiver: at the destination
  int64_t free_inodes = 0;
  std::string file_system;  // inspect: "ext4", "xfs", "tmpfs", ...
};

enum class TaskPhase { kRunning, kSucceeded, kFailed };

struct TaskState {
  TaskPhase phase = TaskPhase::kRunning;
  ErrorCode error_code = ErrorCode::kInternal;  // where phase is kFailed
  std::string message;                          // for people: what failed, on what path, what to do
  int64_t bandwidth_bytes_per_second = 0;       // send: the limit that it keeps to
  int64_t started_unix_ms = 0;
  int64_t finished_unix_ms = 0;  // 0 while it runs
  std::vector<VolumeReport> volumes;
};

// What the sender sees of the source pod's processes, read anew for every GET.
enum class SourceProcesses {
  kUnknown,  // not looked yet, or the cgroup tree could not be read
  kRunning,
  kFrozen,  // every one of them stopped by the freezer
  kNone,    // the pod's cgroups are empty or gone: it is dead on this boot
};

struct MoverState {
  std::string migration_uid;
  MoverRole role = MoverRole::kSender;
  int epoch = 0;
  std::string node_name;
  std::string boot_id;  // /proc/sys/kernel/random/boot_id
  std::string version;
  SourceProcesses source_processes = SourceProcesses::kUnknown;
  std::map<TaskKind, TaskState> tasks;
};

void to_json(nlohmann::json& json, const MoverVolume& volume);
void from_json(const nlohmann::json& json, MoverVolume& volume);
nlohmann::json to_json_value(const TaskRequest& request);
nlohmann::json to_json_value(const TaskState& state);
nlohmann::json to_json_value(const MoverState& state);

// Strict: unknown kinds, wrong types and missing identities are kInvalid and name the field.
Result<TaskRequest> parse_task_request(std::string_view body);
Result<TaskState> parse_task_state(std::string_view body);
Result<MoverState> parse_mover_state(std::string_view body);

}  // namespace transship::api
