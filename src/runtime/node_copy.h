// Copying one node of a directory tree with all its attributes.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.h"

namespace transship::runtime {

// Makes `name` in the directory `to` like the one in `from`, of which `status` is; it must not be
// there, and be no directory. `path` is for messages.
Status copy_node(int from, int to, const std::string& name, const struct stat& status,
                 const std::string& path);

// Owner, mode, extended attributes and times of one open file or directory to another one.
// SELinux labels are the destination's own.
Status copy_attributes(int from, int to, const std::string& path);

}  // namespace transship::runtime
