// Credentials from a program that a kubeconfig names ("exec").
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "kube/endpoint.h"

namespace transship::kube {

struct ExecPlugin {
  std::string command;
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;  // beside this process's own
  std::string api_version;   // "client.authentication.k8s.io/v1" or ".../v1beta1"
  std::string install_hint;  // for people, where the command cannot be run
  nlohmann::json cluster;    // ExecCredential's spec.cluster; null: not told
};

// Runs the plugin at the first get(), when what it gave has expired and after rejected(); it has a
// minute. The authority of the server is that of `server`.
std::shared_ptr<CredentialSource> exec_credentials(ExecPlugin plugin,
                                                   std::shared_ptr<CredentialSource> server);

// What a program writes to its standard output, at most 1 MiB; its standard error is ours.
// `environment`: "NAME=value", beside this process's own.
// kNotFound: no such program; kInvalid: it failed; kTimeout: it was killed after `timeout`.
Result<std::string> run_program(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& environment,
                                std::chrono::milliseconds timeout);

}  // namespace transship::kube
