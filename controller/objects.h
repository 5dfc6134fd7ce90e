// Questions about Kubernetes objects as the API server gives them (JSON), each answered in one
// place. Absent fields have the API's defaults; nothing here throws on an object of the asked kind.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace transship::controller {

using Object = nlohmann::json;

// The value at a path of keys ("spec", "nodeName"), or null where any part is absent.
const Object& at(const Object& object, std::initializer_list<const char*> path);
std::string text_at(const Object& object, std::initializer_list<const char*> path);
const Object& list_at(const Object& object,
                      std::initializer_list<const char*> path);  // [] if absent

std::string name_of(const Object& object);
std::string uid_of(const Object& object);
bool is_deleting(const Object& object);
bool has_finalizer(const Object& object, const std::string& finalizer);
std::string annotation(const Object& object, const std::string& key);

// The owner reference with controller: true, or null.
const Object& controller_owner(const Object& object);

// Pods.
bool is_sidecar(const Object& init_container);
// Those that run as long as the pod does: its sidecars and containers, in the order they start in.
std::vector<Object> lasting_containers(const Object& pod);
// The status that kubelet gives of a container; null: none yet.
const Object& container_status(const Object& pod, const std::string& container);
bool pod_is_ready(const Object& pod);
bool pod_is_finished(const Object& pod);  // phase Succeeded or Failed
bool has_scheduling_gate(const Object& pod, const std::string& gate);
bool is_mirror_pod(const Object& pod);
// Every container that was ever started, init and ephemeral ones too, is reported terminated.
bool all_containers_terminated(const Object& pod);
bool is_guaranteed(const Object& pod);
std::string unschedulable_message(const Object& pod);  // empty: not (yet) found unschedulable
// What keeps the pod's containers from running, e.g. "ImagePullBackOff: …"; empty: nothing known.
std::string waiting_message(const Object& pod);

// Nodes.
bool node_is_ready(const Object& node);
bool tolerates(const Object& pod, const Object& taint);

// Where a PV's data is on its node: hostPath or local path; empty for any other kind.
std::string node_path(const Object& volume);

}  // namespace transship::controller
