#include "controller/runtime_nodes.h"

#include <algorithm>
#include <set>

namespace transship::controller {
namespace {

std::string node_of(const Object& pod) { return text_at(pod, {"spec", "nodeName"}); }

// Not one that takes the runtime away: that is ready once it is gone.
bool installs(const Object& pod) {
  const Object& containers = list_at(pod, {"spec", "containers"});
  return std::any_of(containers.begin(), containers.end(), [](const Object& container) {
    const Object& arguments = list_at(container, {"args"});
    return std::find(arguments.begin(), arguments.end(), "install") != arguments.end();
  });
}

bool can_restore(const Object& pod) { return installs(pod) && pod_is_ready(pod); }

// The last words of a container that ended.
std::string last_words(const Object& status) {
  for (const char* state : {"state", "lastState"}) {
    const std::string message = text_at(status, {state, "terminated", "message"});
    if (!message.empty()) return message;
  }
  return "";
}

// The inspecting container's last words are facts of the node.
std::string problem_in(std::string words) {
  const Object facts = Object::parse(words, nullptr, false);
  if (facts.is_object()) return text_at(facts, {"problem"});
  while (words.ends_with('\n')) words.pop_back();
  return words;
}

std::string reason_of(const Object& pod) {
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    for (const Object& status : list_at(pod, {"status", list})) {
      if (at(status, {"ready"}) == true) continue;
      if (const std::string words = last_words(status); !words.empty()) return problem_in(words);
    }
  }
  return waiting_message(pod);
}

}  // namespace

std::string runtime_problem(const std::vector<Object>& runtime_pods, const std::string& node) {
  const Object* found = nullptr;
  for (const Object& pod : runtime_pods) {
    if (node_of(pod) != node || is_deleting(pod)) continue;
    if (can_restore(pod)) return "";
    found = &pod;
  }
  if (found == nullptr) {
    return "node " + node +
           " does not have transship-runtime: the chart puts it there with runtime.enabled=true "
           "where runtime.nodeSelector and runtime.tolerations let it";
  }
  const std::string ns = text_at(*found, {"metadata", "namespace"});
  if (!installs(*found))
    return "transship-runtime is being taken away from node " + node + " (runtime.remove)";
  const std::string reason = reason_of(*found);
  return "transship-runtime on node " + node + " is not ready" +
         (reason.empty() ? "" : ": " + reason) + "; the installer's pod is " + ns + "/" +
         name_of(*found);
}

RuntimeNodes runtime_nodes(const std::vector<Object>& runtime_pods) {
  std::set<std::string> ready;
  std::set<std::string> all;
  for (const Object& pod : runtime_pods) {
    if (node_of(pod).empty() || is_deleting(pod)) continue;
    all.insert(node_of(pod));
    if (can_restore(pod)) ready.insert(node_of(pod));
  }
  RuntimeNodes out;
  for (const std::string& node : all)
    (ready.count(node) != 0 ? out.ready : out.unready).push_back(node);
  return out;
}

}  // namespace transship::controller
