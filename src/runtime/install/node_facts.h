// What a node is, as far as it matters to containers that are moved to it or from it: as text for
// the termination message of the DaemonSet's first container, which is how it gets into the API
// server without a token, and where no user can write.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

struct NodeFacts {
  std::string kernel;       // uname -r
  int cgroups = 0;          // 1 or 2
  std::string cpu;          // the model's name
  std::string features;     // its instruction sets and such, as Linux names them, by spaces
  int64_t xsave_bytes = 0;  // what the kernel keeps of a thread's registers; 0: not x86
  std::string containerd;   // versions; empty: not found
  std::string runc;
  std::string criu;
  std::string
      problem;  // why it cannot dump and restore containers; empty: it has shown that it can
};

// The features of the first processor in the text of /proc/cpuinfo that a program can depend on:
// without those of power management, virtualization, mitigations and the like.
std::string program_features(const std::string& cpuinfo);
// A value of /proc/cpuinfo's first processor; empty without it.
std::string cpuinfo_value(const std::string& cpuinfo, const std::string& key);

// JSON, at most 4096 bytes, which is what kubelet keeps.
std::string to_text(const NodeFacts& facts);

// Looks at the node whose mounts and processes the caller sees; `self` as in self_test.h. With a
// problem where anything is missing or the self-test fails.
NodeFacts look_at_node(int self);

}  // namespace transship::runtime
