#include "controller/names.h"
#include "controller/preflight.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;

// The pod is not (any more) one that can be moved. Before anything was made this ends the
// migration.
Decision refuse(Context& context, std::string_view reason, const std::string& message) {
  await(context.status, context.migration().generation, condition::kValidated, reason, message,
        context.now);
  return context.fail(reason, message);
}

std::optional<Object> pod_to_move(const Observed& observed) {
  return observed.source_pod ? observed.source_pod : observed.other_pod;
}

}  // namespace

Step validate(Context& context) {
  const Observed& observed = context.observed;
  const std::string who =
      "pod " + context.migration().namespace_name + "/" + context.spec().pod_name;
  if (!observed.source_pod) {
    if (!observed.other_pod) return refuse(context, "PodNotFound", who + " does not exist");
    return refuse(context, "PodReplaced",
                  who + " has another UID than spec.podRef.uid: " + uid_of(*pod_to_move(observed)));
  }
  const Object& pod = *observed.source_pod;
  if (is_deleting(pod)) return refuse(context, "PodTerminating", who + " is being deleted");
  if (text_at(pod, {"status", "phase"}) != "Running") {
    return refuse(context, "PodNotRunning",
                  who + " is in phase " + text_at(pod, {"status", "phase"}) +
                      ", and only a running pod is moved");
  }
  const PreflightReport report = preflight(observed, context.settings);
  context.status.preflight = report.checks;
  context.status.volumes = report.volumes;
  context.status.containers = report.containers;
  context.status.owner = report.owner;
  context.status.source = {text_at(pod, {"spec", "nodeName"}), name_of(pod), uid_of(pod)};
  if (context.spec().memory) context.status.notes[kSourcePodIp] = text_at(pod, {"status", "podIP"});
  context.status.target.node = context.spec().target_node;
  if (!report.passed()) {
    const std::string reason = observed.rival.empty() ? "PreflightFailed" : "AlreadyMigrating";
    return refuse(context, reason, report.failures());
  }
  context.done(condition::kValidated, "PreflightPassed",
               std::to_string(report.checks.size()) + " checks passed; see status.preflight");
  return context.again();
}

}  // namespace transship::controller
