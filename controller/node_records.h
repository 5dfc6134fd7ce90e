// The TransshipNodes: what the runtime's installer has found of each node, for people. Nothing is
// decided by them; who decides reads what they are made from (node_facts.h).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "controller/cluster.h"
#include "controller/settings.h"

namespace transship::controller {

// As it is to be of `node`, a Node, whose installer's pods are among `runtime_pods`.
Object node_record(const Object& node, const std::vector<Object>& runtime_pods);

class NodeRecords {
 public:
  NodeRecords(Cluster& cluster, const Settings& settings)
      : cluster_(cluster), settings_(settings) {}

  // Makes, changes or removes the one of a node. One whose node has no installer's pod any more
  // says so, and goes when it is looked at again: after the time that is returned, where one is.
  Result<std::optional<std::chrono::milliseconds>> reconcile(const std::string& node);

  // The names of those that are there.
  Result<std::vector<std::string>> names();

 private:
  Status write(const Object& wanted, const std::optional<Object>& there);

  Cluster& cluster_;
  const Settings& settings_;
};

}  // namespace transship::controller
