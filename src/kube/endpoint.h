// Endpoint: where a server is, how it is recognised, and as whom we come.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace transship::kube {

// All PEM; what is empty is not used.
struct Credentials {
  std::string ca{};  // who may have signed the server's certificate; empty: the system's CAs
  std::string certificate{};  // ours, with its chain
  std::string key{};          // of `certificate`
  std::string token{};        // sent as "Authorization: Bearer"
};

// Credentials that may change while the process runs: mounted files, exec plugins. Safe from any
// thread.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // Asked before every request and may block; an implementation caches.
  virtual Result<Credentials> get() = 0;
  // The server said 401: what is cached is stale. The request is sent once more after it.
  virtual void rejected() {}
};

// Always the same credentials.
std::shared_ptr<CredentialSource> fixed_credentials(Credentials credentials);

struct Endpoint {
  std::string base_url{};  // "https://10.0.0.1:6443", or with a path below which everything is
  std::shared_ptr<CredentialSource> credentials{};  // null: none, and the system's CAs
  // The name that the server's certificate must have (DNS name or IP address); also sent as SNI and
  // Host. Empty: the URL's host.
  std::string tls_server_name{};
  bool insecure = false;    // the server's certificate is not verified: only for experiments
  bool tls13_only = false;  // otherwise TLS 1.2 and later
};

}  // namespace transship::kube
