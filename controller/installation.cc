#include "controller/installation.h"

#include <csignal>
#include <cstdio>
#include <ctime>
#include <optional>
#include <set>

#include "controller/names.h"
#include "controller/objects.h"
#include "controller/runtime_nodes.h"
#include "kube/cpprest_transport.h"

namespace transship::controller {
namespace {

using kube::Resource;

// A controller answers from memory.
constexpr auto kTimeout = std::chrono::milliseconds(5000);

// An admission policy does nothing without its binding, which has the same name.
struct Policy {
  Resource policy;
  Resource binding;
  const char* name;
};
constexpr Policy kHold{kube::kMutatingAdmissionPolicies, kube::kMutatingAdmissionPolicyBindings,
                       kHoldPolicy};
constexpr Policy kMayMigrate{kube::kValidatingAdmissionPolicies,
                             kube::kValidatingAdmissionPolicyBindings, kMayMigratePolicy};

// Where the pod serves its metrics and probes; nullopt where it has no address yet.
std::optional<std::string> address_of(const Object& pod) {
  const std::string host = text_at(pod, {"status", "podIP"});
  if (host.empty()) return std::nullopt;
  for (const Object& container : list_at(pod, {"spec", "containers"})) {
    for (const Object& port : list_at(container, {"ports"})) {
      if (port.value("name", "") != "metrics") continue;
      const bool v6 = host.find(':') != std::string::npos;
      return "http://" + (v6 ? "[" + host + "]" : host) + ":" +
             std::to_string(port.value("containerPort", 0));
    }
  }
  return std::nullopt;
}

std::optional<std::string> pod_problem(const Object& pod, const AskReady& ask) {
  const std::string who = "the controller " + name_of(pod);
  const auto address = address_of(pod);
  if (!address) {
    const std::string waiting = waiting_message(pod);
    return who + " has no address yet, or no port named metrics: " +
           (waiting.empty() ? "it is " + text_at(pod, {"status", "phase"}) : waiting) +
           "; kubectl describe pod says more";
  }
  const Status ready = ask(*address);
  if (ready.ok()) return std::nullopt;
  return who + " is not ready: " + ready.error().message + "; its log says why";
}

std::optional<std::string> lease_problem(kube::Client& client, const std::string& ns,
                                         const std::set<std::string>& controllers) {
  const auto lease = client.get(kube::kLeases, ns, kLeaderLease);
  if (!lease.ok()) return "no controller leads: " + lease.error().message;
  const std::string holder = text_at(*lease, {"spec", "holderIdentity"});
  if (controllers.contains(holder)) return std::nullopt;
  return "no controller leads: the Lease " + ns + "/" + kLeaderLease + " is " +
         (holder.empty() ? "nobody's" : "that of " + holder + ", which does not run") +
         "; the controllers' logs say why none takes it";
}

std::optional<std::string> policy_problem(kube::Client& client, const Policy& wanted) {
  for (const Resource& resource : {wanted.policy, wanted.binding}) {
    const auto found = client.get(resource, "", wanted.name);
    if (!found.ok()) {
      return "the admission policy " + std::string(wanted.name) +
             " is not in force: " + found.error().message + "; install the chart again";
    }
  }
  return std::nullopt;
}

std::vector<std::string> runtime_problems(kube::Client& client, const std::string& ns) {
  const auto pods = client.list(kube::kPods, ns, {.label_selector = kRuntimePods});
  if (!pods.ok()) return {pods.error().message};
  const RuntimeNodes nodes = runtime_nodes(pods->items);
  if (nodes.ready.empty() && nodes.unready.empty()) {
    return {
        "no pod of the DaemonSet transship-runtime runs: does any node fit runtime.nodeSelector "
        "and runtime.tolerations?"};
  }
  std::vector<std::string> problems;
  for (const std::string& node : nodes.unready)
    problems.push_back(runtime_problem(pods->items, node));
  return problems;
}

// False where a signal asked for the end.
bool wait_a_second() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  const timespec second{.tv_sec = 1, .tv_nsec = 0};
  return sigtimedwait(&signals, nullptr, &second) <= 0;
}

}  // namespace

Status ask_ready(const std::string& base_url) {
  auto transport = kube::CpprestTransport::make({.base_url = base_url});
  if (!transport.ok()) return transport.error();
  kube::Request request;
  request.target = "/readyz";
  request.timeout = kTimeout;
  const auto response = (*transport)->request(request);
  if (!response.ok()) return response.error();
  if (response->status == 200) return {};
  return Error{ErrorCode::kUnavailable, base_url + "/readyz answered " +
                                            std::to_string(response->status) + ": " +
                                            response->body.substr(0, 1024)};
}

std::vector<std::string> installation_problems(kube::Client& client,
                                               const InstallationOptions& options,
                                               const AskReady& ask) {
  std::vector<std::string> problems;
  const auto note = [&problems](std::optional<std::string> problem) {
    if (problem) problems.push_back(std::move(*problem));
  };
  const auto served = client.serves(kube::kContainerMigrations);
  if (!served.ok()) {
    problems.push_back(served.error().message);
  } else if (!*served) {
    problems.emplace_back(
        "the API server has no ContainerMigrations: apply crds/, or set crds.install");
  }
  const auto pods = client.list(kube::kPods, options.ns, {.label_selector = options.selector});
  if (!pods.ok()) {
    problems.push_back(pods.error().message);
    return problems;
  }
  std::set<std::string> controllers;
  for (const Object& pod : pods->items) {
    if (is_deleting(pod) || pod_is_finished(pod)) continue;
    controllers.insert(name_of(pod));
    note(pod_problem(pod, ask));
  }
  if (controllers.empty()) {
    problems.push_back("no controller runs: no pod in namespace " + options.ns +
                       " has the labels " + options.selector + "; is the Deployment scaled to 0?");
  } else if (options.leader_elect) {
    note(lease_problem(client, options.ns, controllers));
  }
  if (options.hold) note(policy_problem(client, kHold));
  if (options.may_migrate) note(policy_problem(client, kMayMigrate));
  if (options.runtime) {
    for (std::string& problem : runtime_problems(client, options.ns))
      problems.push_back(std::move(problem));
  }
  return problems;
}

int check_installation(kube::Client& client, const InstallationOptions& options) {
  const auto deadline = std::chrono::steady_clock::now() + options.patience;
  for (;;) {
    const auto problems = installation_problems(client, options, ask_ready);
    if (problems.empty()) {
      std::puts("Transship is installed and works.");
      return 0;
    }
    if (std::chrono::steady_clock::now() < deadline && wait_a_second()) continue;
    std::puts("Transship does not work:");
    for (const std::string& problem : problems) std::printf("- %s\n", problem.c_str());
    return 1;
  }
}

}  // namespace transship::controller
