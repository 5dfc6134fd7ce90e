#include <nlohmann/json.hpp>

#include "controller/names.h"
#include "controller/render/render.h"

namespace transship::controller::render {
namespace {

Object node_requirement(const char* op, const std::string& node) {
  return {{"key", "metadata.name"}, {"operator", op}, {"values", {node}}};
}

// The pod's own required node affinity, each of its terms (they are alternatives) narrowed by
// `field`.
Object narrowed_affinity(const Object& pod, const Object& field) {
  Object terms =
      list_at(pod, {"spec", "affinity", "nodeAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
  if (terms.empty()) terms.push_back(Object::object());
  for (Object& term : terms) {
    // What an earlier migration pinned by node name is ours to replace.
    term["matchFields"] = Object::array({field});
  }
  return {{"nodeSelectorTerms", std::move(terms)}};
}

Object requests_only(const Object& pod, const Settings& settings) {
  Object containers = Object::array();
  int index = 0;
  for (const Object& container : list_at(pod, {"spec", "containers"})) {
    Object resources = Object::object();
    if (at(container, {"resources"}).is_object()) resources = at(container, {"resources"});
    resources.erase("claims");
    containers.push_back({{"name", "reserve-" + std::to_string(index++)},
                          {"image", settings.mover_image},
                          {"imagePullPolicy", settings.mover_image_pull_policy},
                          {"command", {"/usr/bin/transship-mover", "pause"}},
                          {"securityContext",
                           {{"allowPrivilegeEscalation", false},
                            {"capabilities", {{"drop", {"ALL"}}}},
                            {"runAsNonRoot", true},
                            {"runAsUser", 65532},
                            {"readOnlyRootFilesystem", true},
                            {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
                          {"resources", std::move(resources)}});
  }
  return containers;
}

Object reservation_spec(const api::Migration& migration, const Settings& settings,
                        const Object& pod) {
  const api::MigrationSpec& spec = migration.spec;
  Object node_selector = Object::object();
  if (at(pod, {"spec", "nodeSelector"}).is_object())
    node_selector = at(pod, {"spec", "nodeSelector"});
  for (const auto& [key, value] : spec.target_selector) node_selector[key] = value;
  const Object field = spec.target_node.empty()
                           ? node_requirement("NotIn", migration.status.source.node)
                           : node_requirement("In", spec.target_node);
  Object out = {
      {"restartPolicy", "Never"},
      {"automountServiceAccountToken", false},
      {"enableServiceLinks", false},
      {"serviceAccountName", settings.mover_service_account},
      {"terminationGracePeriodSeconds", 0},
      {"nodeSelector", std::move(node_selector)},
      {"affinity",
       {{"nodeAffinity",
         {{"requiredDuringSchedulingIgnoredDuringExecution", narrowed_affinity(pod, field)}}}}},
      {"tolerations", list_at(pod, {"spec", "tolerations"})},
      {"containers", requests_only(pod, settings)},
      {"volumes", Object::array()}};
  // It starts where the restored pod could, and as that will.
  if (spec.layer) out["runtimeClassName"] = kRuntimeClassName;
  return out;
}

}  // namespace

Object reservation_pod(const api::Migration& migration, const Settings& settings,
                       const Object& source_pod, bool with_claims) {
  Object spec = reservation_spec(migration, settings, source_pod);
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
             narrowed_affinity(pod, node_requirement("In", node))}}}}}}}};
}

}  // namespace transship::controller::render
