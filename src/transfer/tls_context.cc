#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include "transfer/socket_bio.h"
#include "transfer/tls_connection.h"

namespace transship::transfer {
namespace {

// A stop request does not wake poll(2): it is looked for this often.
constexpr auto kStopPoll = std::chrono::milliseconds(100);
// How long the peer's kernel may acknowledge nothing.
constexpr std::chrono::milliseconds kDeadLink{120'000};

std::string queued_errors() {
  std::string out;
  while (const unsigned long code = ERR_get_error()) {
    std::array<char, 256> text{};
    ERR_error_string_n(code, text.data(), text.size());
    out += (out.empty() ? "" : "; ") + std::string(text.data());
  }
  return out;
}

Error unusable(const std::string& file) {
  return {ErrorCode::kInvalid, "cannot use " + file + ": " + queued_errors()};
}

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Certificate = std::unique_ptr<X509, Free>;

// Nobody is asked for the password of a key that has one.
int no_password(char*, int, int, void*) { return 0; }

// Calls `use` with each certificate of the text. False where there is none, or something else is
// amiss; the error queue says what.
template <typename Use>
bool each_certificate(const std::string& text, Use use) {
  const std::unique_ptr<BIO, Free> pem(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  for (int count = 0; pem; ++count) {
    Certificate next(PEM_read_bio_X509(pem.get(), nullptr, no_password, nullptr));
    if (!next) {
      // How the end of the text is told.
      if (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) return false;
      ERR_clear_error();
      return true;
    }
    if (!use(std::move(next), count)) return false;
  }
  return false;
}

bool trust(SSL_CTX* context, const std::string& authorities) {
  return each_certificate(authorities, [context](const Certificate& one, int) {
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), one.get()) == 1;
  });
}

bool show(SSL_CTX* context, const std::string& chain) {
  return each_certificate(chain, [context](const Certificate& one, int number) {
    return number == 0 ? SSL_CTX_use_certificate(context, one.get()) == 1
                       : SSL_CTX_add1_chain_cert(context, one.get()) == 1;
  });
}

bool use_key(SSL_CTX* context, const std::string& text) {
  const std::unique_ptr<BIO, Free> pem(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!pem) return false;
  const std::unique_ptr<EVP_PKEY, Free> key(
      PEM_read_bio_PrivateKey(pem.get(), nullptr, no_password, nullptr));
  return key && SSL_CTX_use_PrivateKey(context, key.get()) == 1 &&
         SSL_CTX_check_private_key(context) == 1;
}

}  // namespace

Result<SslContext> make_tls_context(const TlsOptions& options, bool server) {
  ERR_clear_error();
  SslContext context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  if (!context) return Error{ErrorCode::kInternal, "make a TLS context: " + queued_errors()};
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(
      context.get(), "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  // No session is resumed, and a readable socket then always means the peer's own words.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_read_ahead(context.get(), 1);
  SSL_CTX_set_default_read_buffer_len(context.get(), size_t{256} << 10U);
  const TlsCredentials& credentials = options.credentials;
  if (!trust(context.get(), credentials.ca)) return unusable(credentials.from + "/ca.crt");
  if (!show(context.get(), credentials.certificate)) return unusable(credentials.from + "/tls.crt");
  if (!use_key(context.get(), credentials.key)) return unusable(credentials.from + "/tls.key");
  return context;
}

Result<Ssl> make_ssl(SSL_CTX* context, int socket, const TlsOptions& options) {
  Ssl ssl(SSL_new(context));
  BIO* bio = ssl ? make_socket_bio(socket) : nullptr;
  if (bio == nullptr) return Error{ErrorCode::kInternal, "make a TLS session: " + queued_errors()};
  SSL_set_bio(ssl.get(), bio, bio);
  SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NO_WILDCARDS |
                                   X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (options.expected_name.empty() ||
      SSL_set1_host(ssl.get(), options.expected_name.c_str()) != 1) {
    return Error{ErrorCode::kInvalid,
                 "the peer's expected name \"" + options.expected_name + "\" cannot be used"};
  }
  return ssl;
}

Status prepare_socket(int socket, const TlsOptions& options) {
  const int on = 1;
  const auto timeout =
      static_cast<int>(std::min<int64_t>(options.idle_timeout.count(), kDeadLink.count()));
  const std::pair<int, int> tcp_options[] = {{TCP_NODELAY, 1},
                                             {TCP_KEEPIDLE, 15},
                                             {TCP_KEEPINTVL, 5},
                                             {TCP_KEEPCNT, 9},
                                             {TCP_USER_TIMEOUT, timeout}};
  if (::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0) {
    return errno_error("set up a connection", errno);
  }
  for (const auto& [option, value] : tcp_options) {
    if (::setsockopt(socket, IPPROTO_TCP, option, &value, sizeof value) != 0) {
      return errno_error("set up a connection", errno);
    }
  }
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0)
    return errno_error("set up a connection", errno);
  return {};
}

Error tls_error(const std::string& tried, SSL* ssl, int result) {
  const int saved = errno;
  const int kind = SSL_get_error(ssl, result);
  const long verified = SSL_get_verify_result(ssl);
  const std::string queued = queued_errors();
  if (verified != X509_V_OK) {
    return {ErrorCode::kForbidden,
            tried + ": the peer is not who it must be: " + X509_verify_cert_error_string(verified)};
  }
  // Bits that turned on the way are the connection's fault, not our certificate's.
  const bool damaged = queued.find("bad record mac") != std::string::npos;
  if (!damaged && queued.find("alert") != std::string::npos) {
    return {ErrorCode::kForbidden, tried + ": the peer does not take us: " + queued};
  }
  if (queued.find("unexpected eof") != std::string::npos ||
      (kind == SSL_ERROR_SYSCALL && saved == 0)) {
    return {ErrorCode::kCorrupt, tried + ": the connection ended without a proper close"};
  }
  if (kind == SSL_ERROR_SYSCALL) return errno_error(tried, saved);
  return {ErrorCode::kCorrupt, tried + ": " + queued};
}

Status wait_socket(int socket, short events, std::chrono::steady_clock::time_point moment,
                   const Until& until, const std::string& doing) {
  for (;;) {
    TRANSSHIP_TRY(until.check(doing));
    const auto now = std::chrono::steady_clock::now();
    if (now >= moment)
      return Error{ErrorCode::kTimeout, doing + ": the peer made no progress in time"};
    auto wait = std::min<std::chrono::nanoseconds>(moment - now, kStopPoll);
    if (until.end) wait = std::min<std::chrono::nanoseconds>(wait, *until.end - now);
    pollfd ready{.fd = socket, .events = events, .revents = 0};
    const auto wait_ms =
        std::chrono::ceil<std::chrono::milliseconds>(std::max(wait, std::chrono::nanoseconds(0)));
    const int found = ::poll(&ready, 1, static_cast<int>(wait_ms.count()));
    if (found > 0) return {};
    if (found < 0 && errno != EINTR) return errno_error(doing, errno);
  }
}

}  // namespace transship::transfer
