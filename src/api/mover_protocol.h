// The control protocol between the controller (client) and a mover (server): JSON over mutual TLS.
//
//   GET  /v1/state          -> MoverState
//   PUT  /v1/tasks/KIND     TaskRequest -> TaskState; 202 when accepted, 200 when it was there
//                           (what copies no volumes is waited for, for a quarter of a second)
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
//             freeze   stops every process of the pod (cgroup freezer); undone by thaw, or by
//                      itself once the request's budget is over. Not again after that
//             seal     from here on the pod is frozen until a thaw, whatever happens; refused by a
//                      mover that has not frozen it, or has let it go. Before every commit
//             thaw     ends a dump that runs, too
//             pin      holds the pod's emptyDirs through its deletion (bind mounts, mover/pin.h)
//             keep     once the pod is being deleted: the pins outlive a reboot, too
//             kill     SIGKILLs every process of the pod's cgroups, thawing if need be; waits for
//                      none left; then no process that is put into them can run (they are frozen)
//             dump     writes the memory of each container that has `memory` into a tmpfs (runc
//                      checkpoint); the pod must be frozen, and stays so
//             trialdump  freezes the pod, dumps as dump would, lets the pod go on within the budget
//                      and throws the images away; tells how long it took, and their bytes
//             precopy  sends the volumes to the receiver while the pod uses them, in rounds as long
//                      as another one pays; then keeps the connection for send. With a higher
//                      `pass` again, once it has succeeded: at least one more round
//             send     streams the volumes to the receiver (or to archive files), once; after
//                      precopy what has changed since
//             place    moves pinned or kept emptyDirs into a new pod on this node (rollback) and
//                      opens its gate
//             release  takes pins and staging away; the mover then only answers GET
//   receiver: inspect  read only: free bytes and inodes at the destinations
//             receive  listens for one session (or reads archive files), writes, syncs, reads back;
//                      ends with the send, also where a precopy began the session
//             claim    writes down for transship-runtime what it restores in which container of a
//                      pod that is not on a node yet. With another pod again, where nothing of
//                      the first one has run
//             place    moves staged emptyDirs into the pod, and opens its gate; or, where it is
//                      claimed, has transship-runtime make its sandbox
//             coldstart  lets containers whose memory could not be restored start without it
//             release  takes staging away (and PV contents, where `discard` is set)
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/mover_task.h"
#include "base/result.h"

namespace transship::api {

inline constexpr int kControlPort = 9443;  // TCP, both roles
inline constexpr int kDataPort = 9444;     // TCP, receiver

// Of a volume that is moved; movers refuse more.
inline constexpr int64_t kMostEntries = 200'000'000;

enum class MoverRole { kSender, kReceiver };
std::string_view to_string(MoverRole role);  // "sender", "receiver"

// The DNS SAN in a mover's certificate, e.g. "3f0c….receiver.1"; each side pins the other's.
std::string mover_name(const std::string& migration_uid, MoverRole role, int epoch);

// The SAN of the certificate that the controller dials movers with.
std::string controller_name(const std::string& migration_uid);

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
  std::string claimed_pod;                 // of a receiver: the UID of the pod that is claimed
  std::vector<ContainerRestore> restores;  // of that pod; read anew
  std::map<TaskKind, TaskState> tasks;
};

void to_json(nlohmann::json& json, const MoverVolume& volume);
void from_json(const nlohmann::json& json, MoverVolume& volume);
void to_json(nlohmann::json& json, const MoverContainer& container);
void from_json(const nlohmann::json& json, MoverContainer& container);
void to_json(nlohmann::json& json, const ContainerRestore& restore);
void from_json(const nlohmann::json& json, ContainerRestore& restore);
nlohmann::json to_json_value(const TaskRequest& request);
nlohmann::json to_json_value(const TaskState& state);
nlohmann::json to_json_value(const MoverState& state);

// Strict: unknown kinds, wrong types and missing identities are kInvalid and name the field.
Result<TaskRequest> parse_task_request(std::string_view body);
Result<TaskState> parse_task_state(std::string_view body);
Result<MoverState> parse_mover_state(std::string_view body);

}  // namespace transship::api
