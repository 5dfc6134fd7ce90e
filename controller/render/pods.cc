#include <nlohmann/json.hpp>

#include "controller/names.h"
#include "controller/render/render.h"

namespace transship::controller::render {
namespace {

Object named_removed(const Object& list, const char* name) {
  Object out = Object::array();
  for (const Object& item : list) {
    if (text_at(item, {"name"}) != name) out.push_back(item);
  }
  return out;
}

Object gate_container(const Settings& settings, bool guaranteed) {
  Object container = {{"name", kGate},
                      {"image", settings.mover_image},
                      {"imagePullPolicy", settings.mover_image_pull_policy},
                      {"command", {"/usr/bin/transship-mover", "gate", "--directory=/gate"}},
                      {"securityContext", restricted()},
                      {"volumeMounts", {{{"name", kGate}, {"mountPath", "/gate"}}}}};
  // The QoS class is computed over init containers too: a Guaranteed pod has to stay one.
  if (guaranteed) {
    const Object amount = {{"cpu", "50m"}, {"memory", "32Mi"}};
    container["resources"] = {{"requests", amount}, {"limits", amount}};
  }
  return container;
}

// What the server, the kubelet and earlier migrations put in, and a new pod must not bring along.
Object stripped_spec(const Object& pod) {
  Object spec = at(pod, {"spec"});
  for (const char* field :
       {"nodeName", "ephemeralContainers", "overhead", "priority", "schedulingGates"}) {
    spec.erase(field);
  }
  if (spec.contains("initContainers"))
    spec["initContainers"] = named_removed(spec["initContainers"], kGate);
  if (spec.contains("volumes")) spec["volumes"] = named_removed(spec["volumes"], kGate);
  return spec;
}

void insert_gate(Object& spec, const Settings& settings, bool guaranteed) {
  Object init = Object::array({gate_container(settings, guaranteed)});
  for (const Object& container : list_at(spec, {"initContainers"})) init.push_back(container);
  spec["initContainers"] = std::move(init);
  spec["volumes"].push_back({{"name", kGate}, {"emptyDir", Object::object()}});
}

}  // namespace

Object restricted() {
  return {{"allowPrivilegeEscalation", false},
          {"capabilities", {{"drop", {"ALL"}}}},
          {"runAsNonRoot", true},
          {"runAsUser", 65532},
          {"readOnlyRootFilesystem", true},
          {"seccompProfile", {{"type", "RuntimeDefault"}}}};
}

Object pod_secret(const api::Migration& migration, const Settings& settings, const Object& pod,
                  const std::map<std::string, Object>& claims) {
  Object saved = {{"apiVersion", "v1"},
                  {"kind", "Pod"},
                  {"metadata", Object::object()},
                  {"spec", stripped_spec(pod)}};
  for (const char* field : {"name", "namespace", "labels", "annotations", "uid"}) {
    if (at(pod, {"metadata", field}).is_null()) continue;
    saved["metadata"][field] = at(pod, {"metadata", field});
  }
  if (saved["metadata"].contains("annotations")) saved["metadata"]["annotations"].erase(kLock);
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"metadata", child_metadata(migration, settings.operator_namespace,
                                      pod_secret_name(migration), "pod")},
          {"type", "Opaque"},
          {"immutable", true},
          {"stringData", {{"pod.json", saved.dump()}, {"claims.json", Object(claims).dump()}}}};
}

Object replacement_pod(const api::Migration& migration, const Settings& settings,
                       const Object& saved_pod, const std::string& node, bool gate, bool held) {
  Object metadata = at(saved_pod, {"metadata"});
  metadata.erase("uid");
  metadata["annotations"][kLock] = migration.uid;
  Object spec = stripped_spec(saved_pod);
  if (gate) insert_gate(spec, settings, is_guaranteed(Object{{"spec", spec}}));
  if (migration.spec.layer) spec["runtimeClassName"] = kRuntimeClassName;
  if (held) spec["schedulingGates"] = {{{"name", kSchedulingGate}}};
  const Object patch = release_to_node(Object{{"spec", spec}}, node);
  spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
      patch["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", std::move(metadata)},
          {"spec", std::move(spec)}};
}

Object hold_probe(const api::Migration& migration, const Object& source_pod) {
  const api::Owner& owner = migration.status.owner;
  Object metadata = {{"namespace", migration.namespace_name},
                     {"ownerReferences",
                      {{{"apiVersion", "apps/v1"},
                        {"kind", owner.kind},
                        {"name", owner.name},
                        {"uid", owner.uid},
                        {"controller", true},
                        {"blockOwnerDeletion", true}}}}};
  if (at(source_pod, {"metadata", "labels"}).is_object())
    metadata["labels"] = at(source_pod, {"metadata", "labels"});
  // The source pod still has its name, so the probe says by a label whose pod it stands for.
  metadata["generateName"] = owner.name + "-";
  metadata["labels"][kHoldProbe] = migration.uid;
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", std::move(metadata)},
          {"spec", stripped_spec(source_pod)}};
}

}  // namespace transship::controller::render
