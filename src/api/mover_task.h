// What a mover is asked to do and what it tells of it: the values of the control protocol
// (mover_protocol.h).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace transship::api {

enum class TaskKind {
  kInspect,
  kFreeze,
  kSeal,
  kThaw,
  kPin,
  kKeep,
  kKill,
  kDump,
  kTrialDump,
  kPreCopy,
  kSend,
  kReceive,
  kClaim,
  kPlace,
  kColdStart,
  kRelease
};
std::string_view to_string(TaskKind kind);  // "inspect", ...
std::optional<TaskKind> parse_task_kind(std::string_view text);

// What a tree of the pod is. All but volumes are only there where the pod is restored by
// transship-runtime.
enum class TreeKind {
  kVolume,        // a volume of the pod
  kLayer,         // a container's layer: the upper directory of its overlay mount
  kMemory,        // a container's memory: what dump writes, in a tmpfs of the mover's own
  kSharedMemory,  // the pod's /dev/shm
};
std::string_view to_string(TreeKind kind);  // "Volume", "Layer", "Memory", "SharedMemory"

// One volume of the pod, or another tree of it, as a mover sees it.
struct MoverVolume {
  // The pod's name for it; also names it in status. Of the others: "layer.CONTAINER",
  // "memory.CONTAINER", "shm.pod": no volume's name has a dot.
  std::string name;
  TreeKind kind = TreeKind::kVolume;
  std::string container{};  // layer, memory: the container's name in the pod
  bool empty_dir = false;   // true: found by pod UID and name; false: `node_path` says where
  bool memory = false;      // an emptyDir with medium Memory
  std::string node_path{};  // absolute, as the node's own mount namespace sees it (a PV's hostPath
                            // or local path)
  bool operator==(const MoverVolume&) const = default;
};

// A container of the pod whose layer or memory goes along, or that must not run at the target.
struct MoverContainer {
  std::string name;
  std::string id{};     // containerd's, without "containerd://"; the source's. Not for claim
  bool layer = false;   // its layer is restored
  bool memory = false;  // its memory is restored, and with it its layer
  bool skip = false;    // claim: an init container that has done its work, in the memory restored
  bool operator==(const MoverContainer&) const = default;
};

struct TaskRequest {
  std::string migration_uid;
  int epoch = 0;
  // the pod that the task works on: the source pod; for claim and place the new one
  std::string pod_uid;
  std::string source_pod_uid;        // place by a sender: whose pins are placed
  std::vector<MoverVolume> volumes;  // those that the task works on
  // inspect, dump, precopy, send, claim, place: those with a layer or memory; empty: only volumes
  // go along
  std::vector<MoverContainer> containers;
  std::string source_pod_ip;      // claim: connections from it are ended when memory is restored
  std::string peer_host;          // precopy, send: the receiver's IP
  std::string archive_directory;  // send, receive: under the mounted archive claim; empty = Direct
  int64_t bandwidth_bytes_per_second = 0;  // precopy, send; 0 = no limit. May change while it runs
  std::string compression;                 // precopy, send: "", "Auto", "None" or "Zstd"
  int64_t deadline_seconds = 0;            // after which the task fails by itself; 0 = none
  // freeze, trialdump: after which the pod goes on by itself, unless it is sealed; 0: it stays
  // frozen
  int64_t freeze_budget_milliseconds = 0;
  // release by a receiver: also empty the destination PVs (only before the commit); by a sender:
  // also delete the emptyDirs it kept (only after the commit).
  bool discard = false;
  int pass = 0;                               // precopy: which time, from 1
  int max_rounds = 0;                         // precopy: at most so many, at least 1
  int64_t max_final_round_milliseconds = -1;  // precopy: what is aimed at; negative: the least
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

// How far a container's restore is, as transship-runtime has written it down on the node.
struct ContainerRestore {
  std::string container;
  // "Pending", "Restoring", "Restored" (nothing has run yet), "Running", "Failed" (no container of
  // that name is started until told so), "ColdStart" (told so)
  std::string state;
  std::string message;  // why it failed
  bool operator==(const ContainerRestore&) const = default;
};

// One round over all volumes.
struct RoundReport {
  int64_t bytes = 0;  // over the wire
  int64_t entries = 0;
  int64_t milliseconds = 0;  // until the receiver had read it back
};

enum class TaskPhase { kRunning, kSucceeded, kFailed };

struct TaskState {
  TaskPhase phase = TaskPhase::kRunning;
  ErrorCode error_code = ErrorCode::kInternal;  // where phase is kFailed
  std::string message;                          // for people: what failed, on what path, what to do
  int64_t bandwidth_bytes_per_second = 0;       // precopy, send: the limit that it keeps to
  int pass = 0;                                 // precopy: of the request
  int64_t started_unix_ms = 0;
  int64_t finished_unix_ms = 0;  // 0 while it runs
  std::vector<VolumeReport> volumes;
  std::vector<RoundReport> rounds;           // precopy, send: of the session, so far
  int64_t estimated_final_milliseconds = 0;  // precopy: of the final round, if it began now
  int64_t frozen_milliseconds = 0;           // trialdump: how long the pod was
  int64_t dump_milliseconds = 0;             // trialdump: of that, the dump of all containers
};

}  // namespace transship::api
