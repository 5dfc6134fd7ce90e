// What goes along of the containers themselves: their layers, and their memory.
#include <algorithm>

#include "controller/names.h"
#include "controller/node_facts.h"
#include "controller/preflight_checks.h"
#include "controller/runtime_nodes.h"

namespace transship::controller {
namespace {

using api::ContainerStatus;
using api::VolumePlan;
using api::VolumeStatus;

// "containerd://ID" without the runtime's name.
std::string id_of(const Object& container_status) {
  const std::string id = text_at(container_status, {"containerID"});
  const size_t scheme = id.find("://");
  return scheme == std::string::npos ? id : id.substr(scheme + 3);
}

VolumeStatus tree(std::string name, const char* kind, std::string container) {
  VolumeStatus out;
  out.name = std::move(name);
  out.kind = kind;
  out.plan = VolumePlan::kCopy;
  out.container = std::move(container);
  return out;
}

// Why the target cannot restore containers; of one that the scheduler chooses, why no node can.
std::string target_problem(const Observed& observed) {
  const std::string& target = observed.migration.spec.target_node;
  if (!target.empty()) {
    const std::string problem = runtime_problem(observed.runtime_pods, target);
    return problem.empty() ? "" : problem + ", or choose another node";
  }
  const std::string source = text_at(*observed.source_pod, {"spec", "nodeName"});
  RuntimeNodes nodes = runtime_nodes(observed.runtime_pods);
  std::erase(nodes.ready, source);
  std::erase(nodes.unready, source);
  if (!nodes.ready.empty()) return "";
  const std::string none = "no node besides " + source + " can restore containers: ";
  if (!nodes.unready.empty())
    return none + runtime_problem(observed.runtime_pods, nodes.unready.front());
  return none +
         "the chart puts transship-runtime on nodes with runtime.enabled=true where "
         "runtime.nodeSelector and runtime.tolerations let it";
}

void check_runtime(const Observed& observed, Checks& checks) {
  const std::string own = text_at(*observed.source_pod, {"spec", "runtimeClassName"});
  if (!own.empty() && own != kRuntimeClassName) {
    return checks.fail("Runtime", "the pod's runtimeClassName is " + own +
                                      ": layers and memory are restored by the RuntimeClass " +
                                      kRuntimeClassName + " only, which wraps runc");
  }
  if (!observed.runtime_class) {
    return checks.fail("Runtime",
                       std::string("the RuntimeClass ") + kRuntimeClassName +
                           " is not there: install the chart with "
                           "runtime.enabled=true, or leave out spec.state.containerLayer "
                           "and spec.state.memory");
  }
  if (const std::string problem = target_problem(observed); !problem.empty())
    return checks.fail("Runtime", problem);
  checks.pass("Runtime",
              std::string("the restored pod gets the RuntimeClass ") + kRuntimeClassName);
}

// Memory is more particular than a layer about where it goes on.
void check_nodes(const Observed& observed, Checks& checks) {
  const std::string source = text_at(*observed.source_pod, {"spec", "nodeName"});
  const std::string& target = observed.migration.spec.target_node;
  if (!target.empty()) {
    const auto check = nodes_check(observed.runtime_pods, source, target);
    if (check.result == "Failed") return checks.fail(check.check, check.message);
    if (check.result == "Warning") return checks.warn(check.check, check.message);
    return checks.pass(check.check, check.message);
  }
  std::string problem;
  for (const std::string& node : runtime_nodes(observed.runtime_pods).ready) {
    if (node == source) continue;
    problem = compare_nodes(observed.runtime_pods, source, node).fatal;
    if (problem.empty()) return;  // it is looked at again once one is chosen
  }
  if (!problem.empty()) checks.fail("Nodes", "memory can go on on no other node: " + problem);
}

void check_way(const api::MigrationSpec& spec, Checks& checks) {
  if (spec.stop != api::StopMode::kFreeze) {
    checks.fail("Strategy",
                "a container's layer and memory go along with strategy.stop: Freeze "
                "only: set it, or leave strategy.stop out");
  }
  if (spec.mode == api::TransferMode::kArchive) {
    checks.fail("Strategy",
                "a container's layer and memory are not archived: leave out "
                "transfer.mode");
  }
  if (spec.memory && !(spec.include_volumes.empty() && spec.exclude_volumes.empty())) {
    checks.fail("Strategy",
                "processes that go on need all of the pod's volumes: remove "
                "spec.state.volumes, or spec.state.memory");
  }
}

void check_container(const Object& pod, const Object& container, Checks& checks) {
  const std::string name = text_at(container, {"name"});
  const std::string check = "Container/" + name;
  const Object& status = container_status(pod, name);
  if (!at(status, {"state", "running"}).is_object() || id_of(status).empty()) {
    return checks.fail(check,
                       "it does not run, so it has no layer or memory to take along: wait "
                       "until it runs");
  }
  const std::string id = text_at(status, {"containerID"});
  if (id.rfind("containerd://", 0) != 0) {
    return checks.fail(check, "it is run by " + id.substr(0, id.find("://")) +
                                  ": only containerd's containers can be restored");
  }
  checks.pass(check, "its layer goes along");
}

// What a process that goes on cannot do without, and does not find at the target.
void check_memory(const Object& pod, Checks& checks) {
  const std::vector<Object> containers = lasting_containers(pod);
  const std::string check = "Memory";
  for (const char* field : {"hostPID", "hostIPC"}) {
    if (at(pod, {"spec", field}) == true)
      checks.fail(check, std::string(field) + ": the pod shares the node's, which cannot go along");
  }
  for (const Object& container : containers) {
    const std::string name = text_at(container, {"name"});
    for (const auto& [resource, amount] : at(container, {"resources", "limits"}).items()) {
      if (resource.find('/') != std::string::npos)
        checks.fail(check, "container " + name + " has " + resource +
                               ": the state of a device cannot go along");
    }
    if (!list_at(container, {"volumeDevices"}).empty())
      checks.fail(check, "container " + name + " uses a block device");
    // All containers go on together: until then nothing can be run in any of them.
    if (containers.size() > 1 && at(container, {"lifecycle", "postStart"}).is_object()) {
      checks.fail(check, "container " + name +
                             " has a postStart hook, which would run before the pod's other "
                             "containers are restored, and all go on together");
    }
  }
  for (const Object& container : list_at(pod, {"spec", "initContainers"})) {
    if (is_sidecar(container) && at(container, {"startupProbe"}).is_object()) {
      checks.fail(check, "sidecar " + text_at(container, {"name"}) +
                             " has a startupProbe, which would be waited for before the pod's "
                             "other containers are restored, and all go on together");
    }
  }
  if (!list_at(pod, {"spec", "ephemeralContainers"}).empty())
    checks.warn(check, "the processes of ephemeral containers do not go along");
}

}  // namespace

api::PreflightCheck nodes_check(const std::vector<Object>& runtime_pods, const std::string& source,
                                const std::string& target) {
  const NodeDifferences found = compare_nodes(runtime_pods, source, target);
  if (!found.fatal.empty()) return {"Nodes", "Failed", found.fatal};
  if (!found.risky.empty()) return {"Nodes", "Warning", found.risky};
  return {"Nodes", "Passed", "memory of " + source + " can go on on " + target};
}

std::vector<VolumeStatus> plan_trees(const Object& pod, const api::MigrationSpec& spec) {
  std::vector<VolumeStatus> out;
  if (!spec.layer) return out;
  for (const Object& container : lasting_containers(pod)) {
    const std::string name = text_at(container, {"name"});
    out.push_back(tree("layer." + name, "Layer", name));
    if (spec.memory) out.push_back(tree("memory." + name, "Memory", name));
  }
  if (spec.memory) out.push_back(tree("shm.pod", "SharedMemory", ""));
  return out;
}

std::vector<ContainerStatus> plan_containers(const Object& pod, const api::MigrationSpec& spec) {
  std::vector<ContainerStatus> out;
  if (!spec.layer) return out;
  for (const Object& container : list_at(pod, {"spec", "initContainers"})) {
    // With its memory a pod goes on: what prepares it has been done.
    if (!spec.memory || is_sidecar(container) || text_at(container, {"name"}) == kGate) continue;
    ContainerStatus& plan = out.emplace_back();
    plan.name = text_at(container, {"name"});
    plan.init = true;
  }
  for (const Object& container : lasting_containers(pod)) {
    ContainerStatus& plan = out.emplace_back();
    plan.name = text_at(container, {"name"});
    const Object& status = container_status(pod, plan.name);
    plan.id = id_of(status);
    plan.image_digest = text_at(status, {"imageID"});
  }
  return out;
}

void check_containers(const Observed& observed, Checks& checks) {
  const api::MigrationSpec& spec = observed.migration.spec;
  if (!spec.layer) return;
  check_runtime(observed, checks);
  check_way(spec, checks);
  for (const Object& container : lasting_containers(*observed.source_pod))
    check_container(*observed.source_pod, container, checks);
  if (!spec.memory) return;
  check_nodes(observed, checks);
  check_memory(*observed.source_pod, checks);
}

}  // namespace transship::controller
