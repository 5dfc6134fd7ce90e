// SandboxMark: the sign that a pod runs under transship-runtime, for the mover, which places
// nothing into a pod that does not. A file of the pod's UID with the sandbox's ID in it; below
// /run.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/settings.h"

namespace transship::runtime {

Status mark_sandbox(const Settings& settings, const std::string& pod_uid,
                    const std::string& sandbox_id);

// Whether a sandbox of that ID has made a mark.
bool is_marked_sandbox(const Settings& settings, const std::string& sandbox_id);

// Takes it away, unless another sandbox of the same pod has made its own since.
void unmark_sandbox(const Settings& settings, const std::string& sandbox_id);

}  // namespace transship::runtime
