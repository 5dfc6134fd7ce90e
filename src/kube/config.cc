#include "kube/config.h"

#include <cstdlib>
#include <utility>

#include "kube/credential_files.h"

namespace transship::kube {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

Result<Config> in_cluster_config(const InClusterOptions& options) {
  const std::string host = environment("KUBERNETES_SERVICE_HOST");
  const std::string port = environment("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return Error{ErrorCode::kNotFound,
                 "this process runs in no pod: KUBERNETES_SERVICE_HOST and "
                 "KUBERNETES_SERVICE_PORT are not set"};
  }
  CredentialParts parts;
  parts.ca.path = options.directory + "/ca.crt";
  parts.token.path = options.directory + "/token";
  auto credentials = credential_files(parts, options.token_lifetime, options.now);
  // Read once now, so that what is missing is said before the first request.
  if (const auto first = credentials->get(); !first) return first.error();
  Config config;
  config.endpoint.base_url =
      "https://" + (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + port;
  config.endpoint.credentials = std::move(credentials);
  if (auto ns = read_text_file(options.directory + "/namespace"); ns && !ns->empty()) {
    config.ns = ns->substr(0, ns->find_last_not_of(" \t\r\n") + 1);
  }
  return config;
}

Result<Config> default_config(const KubeconfigOptions& options) {
  auto pod = in_cluster_config();
  if (pod || pod.error().code != ErrorCode::kNotFound) return pod;
  auto outside = load_kubeconfig(options);
  if (!outside) return outside.error().during(pod.error().message);
  return outside;
}

}  // namespace transship::kube
