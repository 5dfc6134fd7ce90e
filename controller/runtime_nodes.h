// Which nodes can restore containers: those where the installer's pod (the chart's DaemonSet
// transship-runtime) is Ready, which it is where the node has shown that it can.
#pragma once

#include <string>
#include <vector>

#include "controller/objects.h"

namespace transship::controller {

// The label of the installer's pods, in the operator's namespace; and the selector of it.
inline constexpr const char* kComponent = "app.kubernetes.io/component";
inline constexpr const char* kRuntimeComponent = "runtime";
inline constexpr const char* kRuntimePods = "app.kubernetes.io/component=runtime";

// Why containers cannot be restored on `node`, for people and with what to do; empty: they can.
// `runtime_pods` are the installer's, of all nodes.
std::string runtime_problem(const std::vector<Object>& runtime_pods, const std::string& node);

// The nodes that can restore containers, and those that have the installer's pod and cannot (yet).
struct RuntimeNodes {
  std::vector<std::string> ready;
  std::vector<std::string> unready;
};
RuntimeNodes runtime_nodes(const std::vector<Object>& runtime_pods);

}  // namespace transship::controller
