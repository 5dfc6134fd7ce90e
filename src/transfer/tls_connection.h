// TlsStream::Connection: a non-blocking socket with OpenSSL on it, and how to wait for it. Inside
// the room only.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "transfer/tls.h"

namespace transship::transfer {

struct SslContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextFree>;
using Ssl = std::unique_ptr<SSL, SslFree>;

// TLS 1.3 only, our certificate, the CA, the peer's certificate demanded. kInvalid names the PEM
// file.
Result<SslContext> make_tls_context(const TlsOptions& options, bool server);

// A session on the socket that accepts only the expected name.
Result<Ssl> make_ssl(SSL_CTX* context, int socket, const TlsOptions& options);

// Keep-alive and TCP_USER_TIMEOUT, so that a dead link is noticed; no Nagle; non-blocking.
Status prepare_socket(int socket, const TlsOptions& options);

// What the OpenSSL error queue and the verification say about a failed call, as an Error.
Error tls_error(const std::string& tried, SSL* ssl, int result);

// Waits until `socket` is ready for `events`, the moment or `until`. kTimeout with `idle` in it
// after `moment`.
Status wait_socket(int socket, short events, std::chrono::steady_clock::time_point moment,
                   const Until& until, const std::string& doing);

class TlsStream::Connection {
 public:
  UniqueFd socket;
  SslContext context;  // connecting only; a listener's is its own
  Ssl ssl;
  std::string peer;
  std::chrono::milliseconds idle_timeout{};
  Until until;
  std::vector<std::byte> pending;   // gathered, not yet written
  std::vector<std::byte> received;  // decrypted ahead of small reads
  size_t taken = 0;                 // of it
  bool broken = false;
};

}  // namespace transship::transfer
