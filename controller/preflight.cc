#include "controller/preflight.h"

#include <algorithm>
#include <set>

#include "controller/names.h"

namespace transship::controller {
namespace {

using api::PreflightCheck;
using api::VolumePlan;
using api::VolumeStatus;

class Checks {
 public:
  explicit Checks(std::vector<PreflightCheck>& out) : out_(out) {}
  void pass(std::string check, std::string message) {
    add(std::move(check), "Passed", std::move(message));
  }
  void warn(std::string check, std::string message) {
    add(std::move(check), "Warning", std::move(message));
  }
  void fail(std::string check, std::string message) {
    add(std::move(check), "Failed", std::move(message));
  }

 private:
  void add(std::string check, std::string result, std::string message) {
    out_.push_back({std::move(check), std::move(result), std::move(message)});
  }
  std::vector<PreflightCheck>& out_;
};

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool selected(const api::MigrationSpec& spec, const std::string& volume) {
  if (!spec.include_volumes.empty()) return contains(spec.include_volumes, volume);
  return !contains(spec.exclude_volumes, volume);
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

void check_pod(const Object& pod, Checks& checks) {
  if (is_mirror_pod(pod)) {
    checks.fail("Pod", "a static pod belongs to its node: move its manifest file instead");
  } else if (at(pod, {"spec", "hostNetwork"}) == true) {
    checks.warn("Pod", "hostNetwork: the pod answers on the target node's address afterwards");
  } else {
    checks.pass("Pod", "running");
  }
}

void check_owner(const Observed& observed, PreflightReport& report, Checks& checks) {
  const Object& reference = controller_owner(*observed.source_pod);
  if (reference.is_null()) return checks.pass("Owner", "a bare pod: recreated by the migration");
  report.owner = {text_at(reference, {"kind"}), text_at(reference, {"name"}),
                  text_at(reference, {"uid"})};
  const std::string who = report.owner.kind + "/" + report.owner.name;
  if (report.owner.kind != "StatefulSet" && report.owner.kind != "ReplicaSet") {
    return checks.fail("Owner", "pods of a " + report.owner.kind + " (" + who +
                                    ") cannot be moved: only those of a StatefulSet, ReplicaSet or "
                                    "Deployment, or without an owner");
  }
  if (!observed.owner_object || uid_of(*observed.owner_object) != report.owner.uid) {
    return checks.fail(
        "Owner", who + " does not exist any more: delete the pod, or remove its ownerReference");
  }
  if (!observed.hold_policy) {
    return checks.fail("Owner",
                       "the MutatingAdmissionPolicy " + std::string(kHoldPolicy) +
                           " is not there, so the replacement that " + who +
                           " makes could not be held back: Kubernetes 1.36 or newer serves it; "
                           "install the chart with policies.hold=always");
  }
  if (observed.owner_deployment &&
      at(*observed.owner_deployment, {"spec", "selector", "matchLabels"}).empty()) {
    return checks.fail("Owner",
                       "Deployment/" + name_of(*observed.owner_deployment) +
                           " selects its pods by matchExpressions alone; matchLabels are needed");
  }
  checks.pass("Owner", who + " makes the replacement, which is held until its data are there");
}

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
  if (!found.other_pods.empty()) {
    return checks.fail(check, "claim " + volume.claim_name + " is also used by pod " +
                                  found.other_pods.front() +
                                  ", which would lose it: stop that pod first");
  }
  if (volume.source_path.empty()) return plan_reattach(observed, found, volume, checks);
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

void check_volumes(const Observed& observed, PreflightReport& report, Checks& checks) {
  for (VolumeStatus& volume : report.volumes) {
    const std::string check = "Volume/" + volume.name;
    if (!volume.claim_name.empty()) {
      check_claim(observed, volume, checks);
    } else if (volume.kind == "EmptyDir") {
      checks.pass(check, volume.plan == VolumePlan::kCopy ? "copied" : volume.message);
    } else if (volume.kind == "HostPath" &&
               !contains(observed.migration.spec.exclude_volumes, volume.name)) {
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

void check_target(const Observed& observed, Checks& checks) {
  const api::MigrationSpec& spec = observed.migration.spec;
  if (spec.target_node.empty()) return checks.pass("Target", "left to the scheduler");
  if (!observed.target_node) {
    return checks.fail("Target", "node " + spec.target_node + " does not exist");
  }
  const Object& node = *observed.target_node;
  const Object& pod = *observed.source_pod;
  const std::string who = "node " + spec.target_node;
  if (spec.target_node == text_at(pod, {"spec", "nodeName"})) {
    return checks.fail("Target", "the pod runs on " + who + " already");
  }
  if (!node_is_ready(node)) return checks.fail("Target", who + " is not Ready");
  if (at(node, {"spec", "unschedulable"}) == true) {
    return checks.fail("Target", who + " is cordoned: uncordon it or choose another");
  }
  for (const Object& taint : list_at(node, {"spec", "taints"})) {
    const std::string effect = text_at(taint, {"effect"});
    if (effect != "PreferNoSchedule" && !tolerates(pod, taint)) {
      return checks.fail("Target", who + " has the taint " + text_at(taint, {"key"}) + ":" +
                                       effect + ", which the pod does not tolerate");
    }
  }
  const Object& selector = at(pod, {"spec", "nodeSelector"});
  if (selector.is_object()) {
    for (const auto& [key, value] : selector.items()) {
      if (at(node, {"metadata", "labels", key.c_str()}) != value) {
        return checks.fail("Target", who + " lacks the label " + key + "=" +
                                         value.get<std::string>() +
                                         ", which the pod's nodeSelector asks for");
      }
    }
  }
  if (observed.source_node) {
    const char* arch = "kubernetes.io/arch";
    if (text_at(node, {"metadata", "labels", arch}) !=
        text_at(*observed.source_node, {"metadata", "labels", arch})) {
      return checks.fail("Target", who + " has another architecture than the source");
    }
  }
  checks.pass("Target", who);
}

// The shortest time after which a liveness probe would kill a frozen container (docs/stopping.md).
void check_probes(const Observed& observed, Checks& checks) {
  if (observed.migration.spec.stop != api::StopMode::kFreeze) return;
  for (const Object& container : list_at(*observed.source_pod, {"spec", "containers"})) {
    const Object& probe = at(container, {"livenessProbe"});
    if (!probe.is_object() || probe.contains("exec")) continue;
    const int budget = probe.value("periodSeconds", 10) * probe.value("failureThreshold", 3);
    checks.warn("Probes", "container " + text_at(container, {"name"}) +
                              ": its liveness probe kills it when it is frozen for " +
                              std::to_string(budget) +
                              " s; strategy.stop: Graceful has no such limit");
  }
}

}  // namespace

bool PreflightReport::passed() const {
  return std::none_of(checks.begin(), checks.end(),
                      [](const PreflightCheck& check) { return check.result == "Failed"; });
}

std::string PreflightReport::failures() const {
  std::string out;
  for (const PreflightCheck& check : checks) {
    if (check.result == "Failed")
      out += (out.empty() ? "" : "; ") + check.check + ": " + check.message;
  }
  return out;
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

PreflightReport preflight(const Observed& observed, const Settings& /*settings*/) {
  PreflightReport report;
  Checks checks(report.checks);
  report.volumes = plan_volumes(*observed.source_pod, observed.migration.spec);
  check_pod(*observed.source_pod, checks);
  check_owner(observed, report, checks);
  check_target(observed, checks);
  check_names(observed, report, checks);
  check_volumes(observed, report, checks);
  check_probes(observed, checks);
  if (!observed.rival.empty()) {
    checks.fail("Lock", "migration " + observed.rival + " of the same pod is not finished");
  }
  return report;
}

}  // namespace transship::controller
