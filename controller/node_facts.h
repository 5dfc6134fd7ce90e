// What the runtime's installer has found of the nodes, and whether memory from one can go on on
// another. The facts are the termination message of its first container: they are in the status of
// a pod of the operator's namespace, which only that node's kubelet writes.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controller/objects.h"

namespace transship::controller {

struct NodeFacts {
  std::string runtime;  // the version of transship-runtime, as of the others
  std::string kernel;
  int64_t cgroups = 0;  // 1 or 2
  std::string cpu;      // the model
  std::set<std::string> features;
  int64_t xsave_bytes = 0;  // 0: not known
  std::string containerd;
  std::string runc;
  std::string criu;
  std::string problem;  // why it cannot dump and restore; empty: it has shown that it can
};

// Of one of the installer's pods; nullopt before it has looked, or where what it says is nothing of
// the kind.
std::optional<NodeFacts> facts_of(const Object& runtime_pod);
// Of a node, by its pods among those of all nodes.
std::optional<NodeFacts> facts_of(const std::vector<Object>& runtime_pods, const std::string& node);

// What differs between two nodes, for people.
struct NodeDifferences {
  std::string fatal;  // why memory of the source cannot go on on the target, and what to do
  std::string risky;  // why it may not
};
NodeDifferences compare_nodes(const NodeFacts& source, const std::string& source_name,
                              const NodeFacts& target, const std::string& target_name);
// The same by the installer's pods of all nodes; where one of the two has none, that is risky.
NodeDifferences compare_nodes(const std::vector<Object>& runtime_pods, const std::string& source,
                              const std::string& target);

// Of the nodes that have the installer's pod, those that a pod from `source` whose containers are
// to be restored must not be sent to.
std::vector<std::string> unsuitable_nodes(const std::vector<Object>& runtime_pods,
                                          const std::string& source, bool memory);

}  // namespace transship::controller
