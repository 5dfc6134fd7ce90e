// The directory that a volume is received into, before the first entry.
#pragma once

#include <string_view>

#include "base/result.h"

namespace transship::transfer {

// What mkfs(8) leaves in a new ext file system.
inline constexpr std::string_view kLostAndFound = "lost+found";

// kPreconditionFailed unless the directory is empty but for an empty lost+found; whether that is
// there. Takes away what entries would inherit from it, and what it has that might not come; not
// its project id unless `projects` are carried.
Result<bool> prepare_destination(int directory, bool projects);

}  // namespace transship::transfer
