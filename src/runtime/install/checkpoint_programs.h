// What a node needs to dump and restore containers: runc and CRIU, which fit its kernel.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

struct CheckpointPrograms {
  std::string runc;          // its path
  std::string runc_version;  // "1.3.6"
  std::string criu;
  std::string criu_version;  // "4.2.1"
};

// The first dotted number of `text` ("Version: 4.2.1" gives "4.2.1"); empty without one.
std::string version_in(const std::string& text);

// Whether CRIU of a version can dump sockets on a kernel of a release (uname -r): from Linux 6.16
// on that takes CRIU 4.2. kPreconditionFailed otherwise.
Status check_criu_for_kernel(const std::string& criu_version, const std::string& kernel_release);

// Finds both in `path` (`runc`: a name or a path), looks at their versions, and has CRIU test the
// kernel (`criu check`). kNotFound or kPreconditionFailed say what is to be installed.
Result<CheckpointPrograms> check_programs(const std::string& runc, const std::string& path);

}  // namespace transship::runtime
