#include "controller/preflight.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "controller/names.h"
#include "controller/preflight_checks.h"

namespace transship::controller {
namespace {

using api::PreflightCheck;

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

std::string kernel_of(const Object& node) {
  return text_at(node, {"status", "nodeInfo", "kernelVersion"});
}

// Absent: the kernel's version does not begin as Linux's do.
std::optional<std::pair<int, int>> kernel_version(const Object& node) {
  int major = 0;
  int minor = 0;
  if (std::sscanf(kernel_of(node).c_str(), "%d.%d", &major, &minor) != 2) return std::nullopt;
  return std::pair(major, minor);
}

void check_kernel(const Object& node, Checks& checks) {
  if (!kernel_version(node)) {
    return checks.warn("Kernel", "node " + name_of(node) + " gives its kernel's version as \"" +
                                     kernel_of(node) +
                                     "\": make sure that it is Linux 5.12 or newer");
  }
  if (const std::string problem = kernel_problem(node); !problem.empty())
    checks.fail("Kernel", problem);
}

void check_probes(const Observed& observed, Checks& checks) {
  if (observed.migration.spec.stop != api::StopMode::kFreeze) return;
  const auto budget = freeze_budget(*observed.source_pod);
  if (!budget) return;
  checks.warn("Probes", "a liveness probe kills a container that is frozen for " +
                            std::to_string(budget->count()) +
                            " s: where the copy is not verified by then, the pod goes on where it "
                            "is and the migration fails; a probe with a longer periodSeconds or a "
                            "higher failureThreshold leaves more time");
}

// Graceful: a pod that takes its time to end takes it from the downtime.
void check_grace(const Observed& observed, Checks& checks) {
  const api::MigrationSpec& spec = observed.migration.spec;
  if (!spec.max_downtime_seconds || spec.stop != api::StopMode::kGraceful) return;
  const Object& seconds = at(*observed.source_pod, {"spec", "terminationGracePeriodSeconds"});
  const int64_t grace = seconds.is_number_integer() ? seconds.get<int64_t>() : 30;
  if (grace <= *spec.max_downtime_seconds) return;
  checks.warn("GracePeriod",
              "the pod may take " + std::to_string(grace) +
                  " s to end (terminationGracePeriodSeconds), and maxDowntimeSeconds is " +
                  std::to_string(*spec.max_downtime_seconds) +
                  ": the expected downtime does not count what it needs beyond a moment; "
                  "strategy.stop: Freeze does not wait for it");
}

// The claim is the operator's, and every user who may migrate could name any of them.
void check_archive(const api::MigrationSpec& spec, const Settings& settings, Checks& checks) {
  if (spec.mode != api::TransferMode::kArchive) return;
  if (is_listed(settings.archive_claims, spec.archive_claim)) {
    return checks.pass("Archive", "claim " + spec.archive_claim);
  }
  checks.fail("Archive", "claim " + spec.archive_claim +
                             " is not one to archive to: the administrator lists those in the "
                             "chart's archive.claims");
}

}  // namespace

// Movers use open_tree(2) and mount_setattr(2), which came with Linux 5.12.
std::string kernel_problem(const Object& node) {
  const auto version = kernel_version(node);
  if (!version || *version >= std::pair(5, 12)) return "";
  return "node " + name_of(node) + " has Linux " + kernel_of(node) +
         ", and 5.12 or newer is needed there: update that node";
}

std::optional<std::chrono::seconds> freeze_budget(const Object& pod) {
  std::optional<std::chrono::seconds> least;
  for (const char* list : {"containers", "initContainers"}) {
    for (const Object& container : list_at(pod, {"spec", list})) {
      const Object& probe = at(container, {"livenessProbe"});
      // In a frozen container nothing can be run: kubelet calls the outcome unknown, and waits.
      if (!probe.is_object() || probe.contains("exec")) continue;
      // Frozen just before a probe, that one fails after its timeout, and so do the next ones.
      const std::chrono::seconds budget(probe.value("periodSeconds", 10) *
                                            (probe.value("failureThreshold", 3) - 1) +
                                        probe.value("timeoutSeconds", 1));
      least = std::min(least.value_or(budget), budget);
    }
  }
  return least;
}

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

PreflightReport preflight(const Observed& observed, const Settings& settings) {
  PreflightReport report;
  Checks checks(report.checks);
  report.volumes = plan_volumes(*observed.source_pod, observed.migration.spec);
  check_pod(*observed.source_pod, checks);
  check_owner(observed, report, checks);
  check_target(observed, checks);
  for (const auto& node : {observed.source_node, observed.target_node}) {
    if (node) check_kernel(*node, checks);
  }
  check_names(observed, report, checks);
  check_volumes(observed, report, checks);
  check_containers(observed, checks);
  report.containers = plan_containers(*observed.source_pod, observed.migration.spec);
  for (api::VolumeStatus& tree : plan_trees(*observed.source_pod, observed.migration.spec))
    report.volumes.push_back(std::move(tree));
  check_probes(observed, checks);
  check_grace(observed, checks);
  check_archive(observed.migration.spec, settings, checks);
  if (!observed.rival.empty()) {
    checks.fail("Lock", "migration " + observed.rival + " of the same pod is not finished");
  }
  return report;
}

}  // namespace transship::controller
