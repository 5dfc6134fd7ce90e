#include <nlohmann/json.hpp>

#include "controller/names.h"
#include "controller/render/render.h"
#include "controller/runtime_nodes.h"

namespace transship::controller::render {
namespace {

Object node_requirement(const char* op, const std::string& node) {
  return {{"key", "metadata.name"}, {"operator", op}, {"values", {node}}};
}

// The pod's own required node affinity, each of its terms (they are alternatives) narrowed by
// `fields`.
Object narrowed_affinity(const Object& pod, const Object& fields) {
  Object terms =
      list_at(pod, {"spec", "affinity", "nodeAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
  if (terms.empty()) terms.push_back(Object::object());
  for (Object& term : terms) {
    // What an earlier migration pinned by node name is ours to replace.
    term["matchFields"] = fields;
  }
  return {{"nodeSelectorTerms", std::move(terms)}};
}

// Asks for what `container` asks for, and does nothing.
Object reserving(const Settings& settings, const Object& container, size_t index) {
  Object resources = Object::object();
  if (at(container, {"resources"}).is_object()) resources = at(container, {"resources"});
  resources.erase("claims");
  return {{"name", render::reserving_container(index)},
          {"image", settings.mover_image},
          {"imagePullPolicy", settings.mover_image_pull_policy},
          {"command", {"/usr/bin/transship-mover", "pause"}},
          {"securityContext", render::restricted()},
          {"resources", std::move(resources)}};
}

// Pulls the pod's own images on the target, and has kubelet say which they are there. What runs in
// them is not theirs: a static program that is brought along, so no image has to have anything.
void use_own_images(Object& spec, const Settings& settings, const Object& pod) {
  constexpr const char* kVolume = "transship-programs";
  constexpr const char* kDirectory = "/transship";
  const Object mount = {{"name", kVolume}, {"mountPath", kDirectory}};
  Object bring = reserving(settings, Object(), 0);
  bring["name"] = "programs";
  bring["command"] = {"/usr/bin/transship-runtime", "stay", std::string("--copy-to=") + kDirectory};
  bring["volumeMounts"] = Object::array({mount});
  bring.erase("resources");
  spec["initContainers"] = Object::array({std::move(bring)});
  spec["volumes"].push_back({{"name", kVolume}, {"emptyDir", Object::object()}});
  const std::vector<Object> containers = lasting_containers(pod);
  spec["containers"] = Object::array();
  for (size_t i = 0; i < containers.size(); ++i) {
    Object container = reserving(settings, containers[i], i);
    container["image"] = at(containers[i], {"image"});
    container["imagePullPolicy"] = at(containers[i], {"imagePullPolicy"});
    if (container["imagePullPolicy"].is_null()) container.erase("imagePullPolicy");
    container["command"] = {std::string(kDirectory) + "/transship-runtime", "stay"};
    container["workingDir"] = "/";
    container["volumeMounts"] = Object::array({mount});
    container["volumeMounts"][0]["readOnly"] = true;
    spec["containers"].push_back(std::move(container));
  }
}

Object reservation_spec(const api::Migration& migration, const Settings& settings,
                        const Object& pod, const std::vector<std::string>& unready) {
  const api::MigrationSpec& spec = migration.spec;
  Object node_selector = Object::object();
  if (at(pod, {"spec", "nodeSelector"}).is_object())
    node_selector = at(pod, {"spec", "nodeSelector"});
  for (const auto& [key, value] : spec.target_selector) node_selector[key] = value;
  Object fields = Object::array();
  if (!spec.target_node.empty()) {
    fields.push_back(node_requirement("In", spec.target_node));
  } else {
    fields.push_back(node_requirement("NotIn", migration.status.source.node));
    if (spec.layer) {
      for (const std::string& node : unready) fields.push_back(node_requirement("NotIn", node));
    }
  }
  Object out = {
      {"restartPolicy", "Never"},
      {"automountServiceAccountToken", false},
      {"enableServiceLinks", false},
      {"serviceAccountName", settings.mover_service_account},
      {"terminationGracePeriodSeconds", 0},
      {"nodeSelector", std::move(node_selector)},
      {"affinity",
       {{"nodeAffinity",
         {{"requiredDuringSchedulingIgnoredDuringExecution", narrowed_affinity(pod, fields)}}}}},
      {"tolerations", list_at(pod, {"spec", "tolerations"})},
      {"containers", Object::array()},
      {"volumes", Object::array()}};
  for (const Object& container : list_at(pod, {"spec", "containers"}))
    out["containers"].push_back(reserving(settings, container, out["containers"].size()));
  if (!spec.layer) return out;
  // It starts where the restored pod could, and as that will.
  out["runtimeClassName"] = kRuntimeClassName;
  out["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
      Object::array({{{"labelSelector", {{"matchLabels", {{kComponent, kRuntimeComponent}}}}},
                      {"topologyKey", "kubernetes.io/hostname"}}});
  use_own_images(out, settings, pod);
  return out;
}

}  // namespace

std::string reserving_container(size_t index) { return "reserve-" + std::to_string(index); }

Object reservation_pod(const api::Migration& migration, const Settings& settings,
                       const Object& source_pod, bool with_claims,
                       const std::vector<std::string>& unready) {
  Object spec = reservation_spec(migration, settings, source_pod, unready);
  Object& first = spec["containers"][0];
  for (const api::VolumeStatus& volume : migration.status.volumes) {
    if (!with_claims || !volume.swaps_claim()) continue;
    const std::string claim = staging_claim_name(migration, volume.name);
    spec["volumes"].push_back(
        {{"name", volume.name}, {"persistentVolumeClaim", {{"claimName", claim}}}});
    first["volumeMounts"].push_back(
        {{"name", volume.name}, {"mountPath", "/volumes/" + volume.name}});
  }
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", child_metadata(migration, settings.operator_namespace,
                                      reservation_name(migration), "reserve")},
          {"spec", std::move(spec)}};
}

Object staging_claim(const api::Migration& migration, const Settings& settings,
                     const std::string& volume, const Object& claim) {
  const Object& old = at(claim, {"spec"});
  Object spec = {{"accessModes", old.value("accessModes", Object::array())},
                 {"resources", old.value("resources", Object::object())}};
  for (const char* kept : {"storageClassName", "volumeMode"}) {
    if (old.contains(kept)) spec[kept] = old[kept];
  }
  // A volume that was grown is as large as the claim's status says, whatever was asked for at
  // first.
  const Object& capacity = at(claim, {"status", "capacity", "storage"});
  if (capacity.is_string()) spec["resources"]["requests"]["storage"] = capacity;
  if (!migration.spec.target_storage_class.empty())
    spec["storageClassName"] = migration.spec.target_storage_class;
  Object metadata = child_metadata(migration, settings.operator_namespace,
                                   staging_claim_name(migration, volume), "staging");
  // local-path-provisioner and its like are told by annotations what to make: those of the user go
  // along.
  const Object& annotations = at(claim, {"metadata", "annotations"});
  if (annotations.is_object()) {
    for (const auto& [key, value] : annotations.items()) {
      if (key.find("kubernetes.io/") == std::string::npos) metadata["annotations"][key] = value;
    }
  }
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", std::move(metadata)},
          {"spec", std::move(spec)}};
}

Object replacement_claim(const Object& claim, const std::string& volume_name,
                         const api::Migration& migration) {
  Object metadata = {{"name", name_of(claim)},
                     {"namespace", text_at(claim, {"metadata", "namespace"})},
                     {"annotations", {{kLock, migration.uid}}}};
  if (at(claim, {"metadata", "labels"}).is_object())
    metadata["labels"] = at(claim, {"metadata", "labels"});
  const Object& annotations = at(claim, {"metadata", "annotations"});
  if (annotations.is_object()) {
    for (const auto& [key, value] : annotations.items()) {
      // Never the binder's own (proven: a claim with bind-completed is Lost for ever).
      if (key.find("kubernetes.io/") == std::string::npos) metadata["annotations"][key] = value;
    }
  }
  Object spec = at(claim, {"spec"});
  spec["volumeName"] = volume_name;
  spec.erase("dataSource");
  spec.erase("dataSourceRef");
  if (!migration.spec.target_storage_class.empty())
    spec["storageClassName"] = migration.spec.target_storage_class;
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", std::move(metadata)},
          {"spec", std::move(spec)}};
}

Object release_to_node(const Object& pod, const std::string& node) {
  Object gates = Object::array();
  for (const Object& gate : list_at(pod, {"spec", "schedulingGates"})) {
    if (text_at(gate, {"name"}) != kSchedulingGate) gates.push_back(gate);
  }
  return {
      {"metadata",
       {{"uid", uid_of(pod)}, {"resourceVersion", text_at(pod, {"metadata", "resourceVersion"})}}},
      {"spec",
       {{"schedulingGates", gates.empty() ? Object() : gates},
        {"affinity",
         {{"nodeAffinity",
           {{"requiredDuringSchedulingIgnoredDuringExecution",
             narrowed_affinity(pod, Object::array({node_requirement("In", node)}))}}}}}}}};
}

}  // namespace transship::controller::render
