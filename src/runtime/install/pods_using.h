// Who still needs a runtime's program: containerd calls it for each kill and delete.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace transship::runtime {

// The pods ("namespace/name", each once) with containers below containerd's `state` directory whose
// runtime is `program`; a container's id where it does not say whose it is.
Result<std::vector<std::string>> pods_using(const std::string& state, const std::string& program);

}  // namespace transship::runtime
