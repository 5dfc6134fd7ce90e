// The gate: the first init container of a pod that waits for its emptyDirs' content. It writes
// `waiting` into its directory and ends once `open` is there; whoever places the content writes
// that.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::mover {

inline constexpr const char* kGateVolume = "transship-gate";  // its emptyDir's name in the pod
inline constexpr const char* kGateWaiting = "waiting";
inline constexpr const char* kGateOpen = "open";

// Blocks until `open` exists in `directory`: true; or until SIGTERM or SIGINT: false. Works for any
// user that may write there, on a read-only root. Call from the only thread: it blocks these
// signals.
Result<bool> wait_at_gate(const std::string& directory);

// Blocks until SIGTERM or SIGINT: what the pod that only holds claims does.
Status pause_until_signal();

}  // namespace transship::mover
