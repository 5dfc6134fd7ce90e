// Whether an operator that was installed is there and works, seen from inside the cluster: what
// `transship-controller check`, and so `helm test`, looks at. It reads, and changes nothing.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "kube/client.h"

namespace transship::controller {

struct InstallationOptions {
  std::string ns{};                   // the operator's
  std::string selector{};             // labels of the controllers' pods, "a=b,c=d"
  bool leader_elect = true;           // one of these pods has to hold the Lease
  bool hold = false;                  // the policy transship-hold has to be there, and bound
  bool may_migrate = false;           // so has transship-may-migrate
  bool runtime = false;               // its installer's pods have to be ready
  std::chrono::seconds patience{30};  // until what is not well yet is a failure
};

// Asks a controller whether it is ready, by GET base_url/readyz ("http://10.1.0.7:8080").
// kUnavailable: it says that it is not, or does not answer; kTimeout: not within 5 s.
using AskReady = std::function<Status(const std::string& base_url)>;
Status ask_ready(const std::string& base_url);

// Everything that is wrong at this moment, a sentence each; empty: the controllers run and are
// ready, one of them leads, the API server serves ContainerMigrations and has the policies, and
// each node with the runtime's installer can restore containers.
std::vector<std::string> installation_problems(kube::Client& client,
                                               const InstallationOptions& options,
                                               const AskReady& ask);

// Looks, once a second, until nothing is wrong, the patience is over or SIGTERM or SIGINT comes
// (both blocked by the caller). Says on the standard output what it found; returns the program's
// exit code, 0 or 1.
int check_installation(kube::Client& client, const InstallationOptions& options);

}  // namespace transship::controller
