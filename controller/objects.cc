#include "controller/objects.h"

#include <algorithm>

namespace transship::controller {
namespace {

const Object kNull;
const Object kEmptyList = Object::array();

bool condition_is(const Object& object, const char* type, const char* status) {
  const Object& conditions = list_at(object, {"status", "conditions"});
  return std::any_of(conditions.begin(), conditions.end(), [&](const Object& condition) {
    return text_at(condition, {"type"}) == type && text_at(condition, {"status"}) == status;
  });
}

bool statuses_terminated(const Object& pod, const char* list) {
  const Object& statuses = list_at(pod, {"status", list});
  return std::all_of(statuses.begin(), statuses.end(), [](const Object& status) {
    const Object& state = at(status, {"state"});
    if (state.contains("terminated")) return true;
    // Never started: nothing of it can run.
    return state.contains("waiting") && text_at(status, {"containerID"}).empty();
  });
}

bool container_is_guaranteed(const Object& container) {
  const Object& limits = at(container, {"resources", "limits"});
  const Object& requests = at(container, {"resources", "requests"});
  for (const char* resource : {"cpu", "memory"}) {
    if (!limits.is_object() || !limits.contains(resource)) return false;
    if (requests.is_object() && requests.contains(resource) &&
        requests[resource] != limits[resource]) {
      return false;
    }
  }
  return true;
}

std::string waiting_in(const Object& pod, const char* list) {
  for (const Object& status : list_at(pod, {"status", list})) {
    const std::string reason = text_at(status, {"state", "waiting", "reason"});
    if (reason.empty() || reason == "PodInitializing" || reason == "ContainerCreating") continue;
    return text_at(status, {"name"}) + ": " + reason + ": " +
           text_at(status, {"state", "waiting", "message"});
  }
  return "";
}

}  // namespace

const Object& at(const Object& object, std::initializer_list<const char*> path) {
  const Object* here = &object;
  for (const char* key : path) {
    if (!here->is_object()) return kNull;
    const auto found = here->find(key);
    if (found == here->end()) return kNull;
    here = &*found;
  }
  return *here;
}

std::string text_at(const Object& object, std::initializer_list<const char*> path) {
  const Object& value = at(object, path);
  return value.is_string() ? value.get<std::string>() : "";
}

const Object& list_at(const Object& object, std::initializer_list<const char*> path) {
  const Object& value = at(object, path);
  return value.is_array() ? value : kEmptyList;
}

std::string name_of(const Object& object) { return text_at(object, {"metadata", "name"}); }
std::string uid_of(const Object& object) { return text_at(object, {"metadata", "uid"}); }

bool is_deleting(const Object& object) {
  return !text_at(object, {"metadata", "deletionTimestamp"}).empty();
}

bool has_finalizer(const Object& object, const std::string& finalizer) {
  const Object& finalizers = list_at(object, {"metadata", "finalizers"});
  return std::find(finalizers.begin(), finalizers.end(), Object(finalizer)) != finalizers.end();
}

std::string annotation(const Object& object, const std::string& key) {
  return text_at(object, {"metadata", "annotations", key.c_str()});
}

const Object& controller_owner(const Object& object) {
  for (const Object& owner : list_at(object, {"metadata", "ownerReferences"})) {
    if (at(owner, {"controller"}) == true) return owner;
  }
  return kNull;
}

bool is_sidecar(const Object& init_container) {
  return text_at(init_container, {"restartPolicy"}) == "Always";
}

std::vector<Object> lasting_containers(const Object& pod) {
  std::vector<Object> out;
  for (const Object& container : list_at(pod, {"spec", "initContainers"})) {
    if (is_sidecar(container)) out.push_back(container);
  }
  for (const Object& container : list_at(pod, {"spec", "containers"})) out.push_back(container);
  return out;
}

const Object& container_status(const Object& pod, const std::string& container) {
  for (const char* list : {"containerStatuses", "initContainerStatuses"}) {
    for (const Object& status : list_at(pod, {"status", list})) {
      if (text_at(status, {"name"}) == container) return status;
    }
  }
  return kNull;
}

bool pod_is_ready(const Object& pod) {
  return !is_deleting(pod) && condition_is(pod, "Ready", "True");
}

bool pod_is_finished(const Object& pod) {
  const std::string phase = text_at(pod, {"status", "phase"});
  return phase == "Succeeded" || phase == "Failed";
}

bool has_scheduling_gate(const Object& pod, const std::string& gate) {
  const Object& gates = list_at(pod, {"spec", "schedulingGates"});
  return std::any_of(gates.begin(), gates.end(),
                     [&](const Object& item) { return text_at(item, {"name"}) == gate; });
}

bool is_mirror_pod(const Object& pod) {
  return !annotation(pod, "kubernetes.io/config.mirror").empty();
}

bool all_containers_terminated(const Object& pod) {
  if (list_at(pod, {"status", "containerStatuses"}).empty()) return false;
  return statuses_terminated(pod, "containerStatuses") &&
         statuses_terminated(pod, "initContainerStatuses") &&
         statuses_terminated(pod, "ephemeralContainerStatuses");
}

bool is_guaranteed(const Object& pod) {
  for (const char* list : {"containers", "initContainers"}) {
    const Object& containers = list_at(pod, {"spec", list});
    if (!std::all_of(containers.begin(), containers.end(), container_is_guaranteed)) return false;
  }
  return true;
}

std::string unschedulable_message(const Object& pod) {
  for (const Object& condition : list_at(pod, {"status", "conditions"})) {
    if (text_at(condition, {"type"}) == "PodScheduled" &&
        text_at(condition, {"reason"}) == "Unschedulable") {
      return text_at(condition, {"message"});
    }
  }
  return "";
}

std::string waiting_message(const Object& pod) {
  const std::string init = waiting_in(pod, "initContainerStatuses");
  return init.empty() ? waiting_in(pod, "containerStatuses") : init;
}

bool node_is_ready(const Object& node) { return condition_is(node, "Ready", "True"); }

bool tolerates(const Object& pod, const Object& taint) {
  const Object& tolerations = list_at(pod, {"spec", "tolerations"});
  return std::any_of(tolerations.begin(), tolerations.end(), [&](const Object& toleration) {
    const std::string effect = text_at(toleration, {"effect"});
    if (!effect.empty() && effect != text_at(taint, {"effect"})) return false;
    const std::string key = text_at(toleration, {"key"});
    const bool exists = text_at(toleration, {"operator"}) == "Exists";
    if (key.empty()) return exists;
    if (key != text_at(taint, {"key"})) return false;
    return exists || text_at(toleration, {"value"}) == text_at(taint, {"value"});
  });
}

std::string node_path(const Object& volume) {
  const std::string host_path = text_at(volume, {"spec", "hostPath", "path"});
  return host_path.empty() ? text_at(volume, {"spec", "local", "path"}) : host_path;
}

}  // namespace transship::controller
