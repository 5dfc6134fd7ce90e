// What is said to whoever called us: a line in the file of runc's --log, which containerd puts into
// the pod's event. Never on descriptors 0 to 2, which are the container's, unless no file is named.
#pragma once

#include <string_view>

#include "runtime/arguments.h"

namespace transship::runtime {

// level: "error" or "warning".
void write_log(const Arguments& arguments, std::string_view level, std::string_view message);

}  // namespace transship::runtime
