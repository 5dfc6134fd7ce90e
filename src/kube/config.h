// Config: which API server to talk to and as whom: from the pod's service account, or from a
// kubeconfig as kubectl reads it.
// https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "kube/endpoint.h"

namespace transship::kube {

struct Config {
  Endpoint endpoint{};
  std::string ns = "default";  // where namespaced objects are looked for if nobody says otherwise
};

struct InClusterOptions {
  std::string directory = "/var/run/secrets/kubernetes.io/serviceaccount";
  std::chrono::seconds token_lifetime{300};  // the token file is read again after this
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// From KUBERNETES_SERVICE_HOST and _PORT and the service account's folder (token, ca.crt,
// namespace). kNotFound: this process runs in no pod, or has no service account mounted.
Result<Config> in_cluster_config(const InClusterOptions& options = {});

struct KubeconfigOptions {
  std::string path{};     // empty: $KUBECONFIG (the first file that exists), else ~/.kube/config
  std::string context{};  // empty: current-context
  std::string ns{};       // empty: the context's
  std::string user{};     // empty: the context's
  std::string cluster{};  // empty: the context's
  std::string server{};   // URL instead of the cluster's; empty: the cluster's
};

// Certificates and keys as files or inline data, token, tokenFile, exec plugins
// (client.authentication.k8s.io/v1 and v1beta1, whose answers are kept until they expire),
// tls-server-name, insecure-skip-tls-verify. Relative paths start at the file's folder. Errors name
// the file and the field. Nothing is dialled or executed yet.
Result<Config> load_kubeconfig(const KubeconfigOptions& options = {});

// In a pod the pod's service account, else the kubeconfig.
Result<Config> default_config(const KubeconfigOptions& options = {});

}  // namespace transship::kube
