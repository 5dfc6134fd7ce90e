#include <algorithm>
#include <cctype>
#include <set>

#include "controller/names.h"
#include "controller/preflight_checks.h"

namespace transship::controller {
namespace {

using api::VolumePlan;
using api::VolumeStatus;

bool selected(const api::MigrationSpec& spec, const std::string& volume) {
  if (!spec.include_volumes.empty()) return is_listed(spec.include_volumes, volume);
  return !is_listed(spec.exclude_volumes, volume);
}

// The key of a pod volume that says what it is: every volume has exactly one besides "name".
std::string source_of(const Object& volume) {
  for (const auto& [key, value] : volume.items()) {
    if (key != "name") return key;
  }
  return "";
}

VolumeStatus plan_volume(const Object& pod, const Object& volume, const api::MigrationSpec& spec) {
  VolumeStatus plan;
  plan.name = name_of(Object{{"metadata", {{"name", text_at(volume, {"name"})}}}});
  const std::string source = source_of(volume);
  const bool wanted = selected(spec, plan.name);
  if (source == "emptyDir") {
    plan.kind = "EmptyDir";
    plan.medium = text_at(volume, {"emptyDir", "medium"});
    plan.plan = wanted ? VolumePlan::kCopy : VolumePlan::kRecreate;
  } else if (source == "persistentVolumeClaim" || source == "ephemeral") {
    plan.kind = "PersistentVolumeClaim";
    plan.ephemeral = source == "ephemeral";
    plan.claim_name = plan.ephemeral ? name_of(pod) + "-" + plan.name
                                     : text_at(volume, {"persistentVolumeClaim", "claimName"});
    plan.plan = wanted ? VolumePlan::kCopy : VolumePlan::kBlank;
  } else {
    plan.kind = source.empty()
                    ? "Unknown"
                    : std::string(1, static_cast<char>(std::toupper(source[0]))) + source.substr(1);
    plan.plan = VolumePlan::kRecreate;
  }
  if (!wanted && (plan.kind == "EmptyDir" || !plan.claim_name.empty())) {
    plan.message = "left out by spec.state.volumes: starts empty on the target";
  }
  return plan;
}

// Whether a PV may be used on the node: spec.nodeAffinity against the node's labels and name.
bool volume_fits_node(const Object& volume, const Object& node) {
  const Object& terms = list_at(volume, {"spec", "nodeAffinity", "required", "nodeSelectorTerms"});
  if (terms.empty()) return true;
  return std::any_of(terms.begin(), terms.end(), [&](const Object& term) {
    const Object& expressions = list_at(term, {"matchExpressions"});
    return std::all_of(expressions.begin(), expressions.end(), [&](const Object& expression) {
      const std::string key = text_at(expression, {"key"});
      const std::string label = text_at(node, {"metadata", "labels", key.c_str()});
      const Object& values = list_at(expression, {"values"});
      const bool listed = std::find(values.begin(), values.end(), Object(label)) != values.end();
      const std::string op = text_at(expression, {"operator"});
      if (op == "In") return listed;
      if (op == "NotIn") return !listed;
      return op == "Exists" ? !label.empty() : false;
    });
  });
}

// Two nodes may attach the volume at the same time. The claim asks for modes that the volume has,
// and what the volume has is what its attachment goes by.
bool is_for_many_nodes(const ObservedVolume& found) {
  for (const Object* object : {&*found.claim, &*found.source_volume}) {
    const Object& modes = list_at(*object, {"spec", "accessModes"});
    if (std::any_of(modes.begin(), modes.end(), [](const Object& mode) {
          return mode == "ReadWriteMany" || mode == "ReadOnlyMany";
        }))
      return true;
  }
  return false;
}

void plan_reattach(const Observed& observed, const ObservedVolume& found, VolumeStatus& volume,
                   Checks& checks) {
  const std::string check = "Volume/" + volume.name;
  const bool bound_to_node =
      !list_at(*found.source_volume, {"spec", "nodeAffinity", "required", "nodeSelectorTerms"})
           .empty();
  if (bound_to_node &&
      (!observed.target_node || !volume_fits_node(*found.source_volume, *observed.target_node))) {
    return checks.fail(check,
                       "PersistentVolume " + volume.source_volume +
                           " is bound to its node and is neither of type hostPath nor local: "
                           "such volumes cannot be copied yet");
  }
  if (!observed.migration.spec.target_storage_class.empty()) {
    return checks.fail(
        check,
        "spec.target.storageClassName: copying to another class is only done for "
        "hostPath and local volumes; leave it out, and the volume is attached on the target");
  }
  volume.plan = VolumePlan::kReattach;
  volume.message = "the target node attaches the same volume; nothing is copied";
  checks.pass(check, volume.message);
}

void check_claim(const Observed& observed, VolumeStatus& volume, Checks& checks) {
  const std::string check = "Volume/" + volume.name;
  const auto entry = observed.volumes.find(volume.name);
  if (entry == observed.volumes.end() || !entry->second.claim || !entry->second.source_volume) {
    return checks.fail(check,
                       "claim " + volume.claim_name + " or its PersistentVolume is not there");
  }
  const ObservedVolume& found = entry->second;
  volume.claim_uid = uid_of(*found.claim);
  volume.source_volume = name_of(*found.source_volume);
  volume.source_reclaim_policy =
      text_at(*found.source_volume, {"spec", "persistentVolumeReclaimPolicy"});
  volume.source_path = node_path(*found.source_volume);
  volume.kind = at(*found.source_volume, {"spec", "hostPath"}).is_object() ? "HostPath"
                : at(*found.source_volume, {"spec", "local"}).is_object()  ? "Local"
                                                                           : "Attached";
  if (text_at(*found.source_volume, {"spec", "claimRef", "uid"}) != volume.claim_uid) {
    return checks.fail(check, "PersistentVolume " + volume.source_volume +
                                  " is bound to another claim than " + volume.claim_name);
  }
  if (text_at(*found.claim, {"spec", "volumeMode"}) == "Block") {
    return checks.fail(check, "a Block volume cannot be moved");
  }
  const bool attached = volume.source_path.empty();
  if (!found.other_pods.empty() && !(attached && is_for_many_nodes(found))) {
    return checks.fail(check, "claim " + volume.claim_name + " is also used by pod " +
                                  found.other_pods.front() +
                                  (attached ? ", and its access mode is for one node at a time"
                                            : ", which would lose it") +
                                  ": stop that pod first");
  }
  if (attached) return plan_reattach(observed, found, volume, checks);
  if (!found.storage_class) {
    return checks.fail(check,
                       "the StorageClass for the copy of claim " + volume.claim_name +
                           " does not exist: name one that does in spec.target.storageClassName");
  }
  if (text_at(*found.storage_class, {"volumeBindingMode"}) != "WaitForFirstConsumer") {
    return checks.fail(check,
                       "StorageClass " + name_of(*found.storage_class) +
                           " binds volumes before a node is chosen; one with volumeBindingMode "
                           "WaitForFirstConsumer is needed");
  }
  checks.pass(check, volume.plan == VolumePlan::kCopy
                         ? "copied to a new volume of the same claim name"
                         : "an empty volume takes its place; the old one is kept");
}

// The container that would see a pin's cover (src/mover/pin.h); empty: none. Of the init containers
// of a pod that runs, only sidecars have not ended.
std::string container_with_propagation(const Object& pod, const std::string& volume) {
  const std::string_view init = "initContainers";
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    for (const Object& container : list_at(pod, {"spec", list})) {
      if (list == init && text_at(container, {"restartPolicy"}) != "Always") continue;
      for (const Object& mount : list_at(container, {"volumeMounts"})) {
        const std::string propagation = text_at(mount, {"mountPropagation"});
        if (text_at(mount, {"name"}) == volume && !propagation.empty() && propagation != "None")
          return text_at(container, {"name"});
      }
    }
  }
  return "";
}

void check_empty_dir(const Observed& observed, const VolumeStatus& volume, Checks& checks) {
  const std::string check = "Volume/" + volume.name;
  if (volume.plan != VolumePlan::kCopy) return checks.pass(check, volume.message);
  const std::string container = container_with_propagation(*observed.source_pod, volume.name);
  if (!container.empty() && observed.migration.spec.stop == api::StopMode::kGraceful) {
    return checks.fail(check, "container " + container +
                                  " mounts it with mountPropagation, so it cannot be kept through "
                                  "the pod's deletion: use strategy.stop: Freeze, or leave it out "
                                  "by spec.state.volumes");
  }
  checks.pass(check, "copied");
}

}  // namespace

void check_names(const Observed& observed, const PreflightReport& report, Checks& checks) {
  const api::MigrationSpec& spec = observed.migration.spec;
  std::set<std::string> known;
  for (const VolumeStatus& volume : report.volumes) known.insert(volume.name);
  for (const auto* list : {&spec.include_volumes, &spec.exclude_volumes}) {
    for (const std::string& name : *list) {
      if (known.count(name) == 0) {
        checks.fail("Volumes",
                    "spec.state.volumes names \"" + name + "\", but the pod has no such volume");
      }
    }
  }
}

void check_volumes(const Observed& observed, PreflightReport& report, Checks& checks) {
  for (VolumeStatus& volume : report.volumes) {
    const std::string check = "Volume/" + volume.name;
    if (!volume.claim_name.empty()) {
      check_claim(observed, volume, checks);
    } else if (volume.kind == "EmptyDir") {
      check_empty_dir(observed, volume, checks);
    } else if (volume.kind == "HostPath" &&
               !is_listed(observed.migration.spec.exclude_volumes, volume.name)) {
      checks.fail(
          check,
          "a hostPath volume is the node's, not the pod's, and is not copied; if the pod may find "
          "other content there on the target, say so by spec.state.volumes.exclude");
    } else if (volume.kind == "Csi" || volume.kind == "Nfs" || volume.kind == "Iscsi") {
      volume.plan = VolumePlan::kReattach;
      checks.warn(check, "an inline " + volume.kind +
                             " volume is attached anew by the target; nothing is copied");
    } else {
      checks.pass(check, "made anew by the kubelet");
    }
  }
}

std::vector<VolumeStatus> plan_volumes(const Object& pod, const api::MigrationSpec& spec) {
  std::vector<VolumeStatus> plans;
  for (const Object& volume : list_at(pod, {"spec", "volumes"})) {
    if (text_at(volume, {"name"}) == kGate)
      continue;  // an earlier migration's; the pod gets a new one
    plans.push_back(plan_volume(pod, volume, spec));
  }
  return plans;
}

}  // namespace transship::controller
