// Claim: what transship-runtime restores into the containers of one pod, and how far it is. The
// mover writes it at the target before the pod may be scheduled; the runtime acts on it at
// `create`.
//
// On disk, below the claims' directory (0700, root's), durable and replaced by rename only:
//
//   POD-UID/claim.json       what Claim says
//   POD-UID/CONTAINER/state  what ContainerState says, one line of JSON
//   POD-UID/CONTAINER/permit.ID  of an attempt that may still be made again: see permit.h
//   POD-UID/.lock            flocked by whoever changes states
//   POD-UID/.shared-memory   the sandbox whose /dev/shm has been filled
//   POD-UID/.placed          the pod's emptyDirs have got their content
//
// While a claim says anything but Running or ColdStart of a container, no container of that name is
// started in any other way than by a restore: a claim that cannot be read stops it, too.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::runtime {

inline constexpr std::string_view kClaimsDirectory = "/var/lib/transship/claims";  // of the node
// Holds a file POD-UID for each pod that runs under transship-runtime; of the node.
inline constexpr std::string_view kSandboxesDirectory = "/run/transship/sandboxes";

struct ClaimedContainer {
  std::string name;
  std::string layer;   // the staged layer, absolute, as the node sees it; empty: none
  std::string memory;  // the directory of its images; empty: it starts afresh
  bool operator==(const ClaimedContainer&) const = default;
};

struct Claim {
  std::string migration_uid;
  std::vector<ClaimedContainer> containers;
  std::vector<std::string> skip;  // init containers that have done their work
  std::string shared_memory;      // the content of the pod's /dev/shm; empty: none
  std::string old_address;  // the pod's IP at the source: connections from it are ended; or empty
  // Its emptyDirs get their content once its sandbox is asked for, which is not made before.
  bool awaits_volumes = false;
  bool operator==(const Claim&) const = default;
  [[nodiscard]] const ClaimedContainer* find(std::string_view container) const;
  [[nodiscard]] bool skips(std::string_view container) const;
};

enum class RestoreState {
  kPending,    // nothing was tried
  kRestoring,  // under way; whoever finds it with the lock free: the attempt was killed; its permit
               // says whether it may be made again
  kRestored,   // there, frozen: not one instruction has run, so it may be restored once more
  kRunning,    // it runs, or has run: later starts are ordinary ones
  kFailed,     // nothing is started until told so
  kColdStart,  // told so: an ordinary start, on the layer
};
std::string_view to_string(RestoreState state);  // "Pending", ...

struct ContainerState {
  RestoreState state = RestoreState::kPending;
  std::string message;  // why it failed
  std::string id;       // the runtime's, of the last attempt
  bool operator==(const ContainerState&) const = default;
};

// The claim of one pod in the claims' directory `claims`. Both names come from outside and are
// checked: kInvalid for what is no single, plain path component.
class PodClaim {
 public:
  static Result<PodClaim> open(std::string claims, std::string pod_uid);

  // Writes it, with every container Pending. One of the same content may be there and stays, with
  // its states; another is kAlreadyExists. Either all of it is there after a crash, or none.
  [[nodiscard]] Status write(const Claim& claim) const;

  // nullopt where the pod has none. kCorrupt or kInvalid where it is not what write() writes: paths
  // that are relative or have "..", doubled names, unknown versions.
  [[nodiscard]] Result<std::optional<Claim>> read() const;

  // Waits until nobody else has the lock, and holds it as long as the descriptor is open. Not
  // inherited by programs that are started. kNotFound where there is no claim (any more).
  [[nodiscard]] Result<UniqueFd> lock() const;

  // Pending where nothing was written yet. Reading needs no lock, writing does.
  [[nodiscard]] Result<ContainerState> state(const std::string& container) const;
  [[nodiscard]] Status set_state(const std::string& container, const ContainerState& state) const;

  // Of all containers of the claim, in its order; empty where there is none.
  using Named = std::pair<std::string, ContainerState>;
  [[nodiscard]] Result<std::vector<Named>> states() const;

  // Under the lock: those that have failed, or whose attempt was killed, become ColdStart, durably.
  // Says again is fine; kNotFound where there is no claim.
  [[nodiscard]] Status cold_start() const;

  // Under the lock: no container is ever started by it, and `why` is what they are refused with.
  // kPreconditionFailed where one has run, or may have. Again is fine.
  [[nodiscard]] Status withdraw(const std::string& why) const;

  // The sandbox whose /dev/shm has the claim's content; empty where none has.
  [[nodiscard]] Result<std::string> shared_memory_sandbox() const;
  [[nodiscard]] Status set_shared_memory_sandbox(const std::string& sandbox_id) const;

  // Whether the pod's emptyDirs have got their content.
  [[nodiscard]] Result<bool> volumes_are_placed() const;
  [[nodiscard]] Status set_volumes_placed() const;

  // Takes it away, under the lock; none there is OK. What was staged is the mover's to remove.
  [[nodiscard]] Status remove() const;

  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  PodClaim(std::string claims, std::string pod_uid);
  std::string claims_;
  std::string pod_uid_;
  std::string directory_;
};

}  // namespace transship::runtime
