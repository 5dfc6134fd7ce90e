// Bundle: the directory that containerd prepares for a container, and of its config.json (OCI
// runtime specification) what is asked here.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace transship::runtime {

struct BundleMount {
  std::string destination;
  std::string type;
  std::string source;
  bool operator==(const BundleMount&) const = default;
};

struct Bundle {
  std::string directory;
  // Of the annotations that containerd's CRI plugin gives; empty for containers of others.
  std::string container_type;  // "sandbox" or "container"
  std::string sandbox_id;
  std::string pod_uid;
  std::string container;  // its name in the pod

  std::string rootfs;             // absolute
  std::string network_namespace;  // its path; empty: the node's, or one that runc makes
  bool user_namespace = false;    // of the pod's own (hostUsers: false)
  std::vector<BundleMount> mounts;
};

// Absolute `directory`, or relative to the working directory. kCorrupt: config.json is not what the
// specification says.
Result<Bundle> read_bundle(const std::string& directory);
Result<Bundle> parse_bundle(const std::string& directory, const std::string& config);

inline constexpr const char* kNothing = "/dev/.transship-nothing";

// Has the container run `program`, mounted into it as kNothing, in place of its own: for an init
// container that has done its work. Said twice is fine.
Status run_nothing(const std::string& directory, const std::string& program);

}  // namespace transship::runtime
