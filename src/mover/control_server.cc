#include "mover/control_server.h"

#include <cpprest/http_listener.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pplx/threadpool.h>

#include <boost/asio/ssl.hpp>
#include <filesystem>
#include <mutex>

#include "base/log.h"

namespace transship::mover {
namespace {

using web::http::http_request;
using web::http::http_response;
using web::http::experimental::listener::http_listener;
using web::http::experimental::listener::http_listener_config;

constexpr uint64_t kMaxBody = uint64_t{1} << 20U;
constexpr int kThreads = 4;

// The library's pool is the process's and cannot be made twice.
void initialize_pool() {
  static std::once_flag once;
  std::call_once(once, [] { crossplat::threadpool::initialize_with_threads(kThreads); });
}

// True where the client's own certificate (not one of its chain) carries `name` as a DNS SAN.
bool has_name(X509_STORE_CTX* store, const std::string& name) {
  if (X509_STORE_CTX_get_error_depth(store) != 0) return true;
  X509* certificate = X509_STORE_CTX_get_current_cert(store);
  const unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_WILDCARDS;
  return X509_check_host(certificate, name.c_str(), name.size(), flags, nullptr) == 1;
}

void configure(boost::asio::ssl::context& tls, const ControlServer::Config& config) {
  using boost::asio::ssl::context;
  SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_3_VERSION);
  // No resumption: every connection shows its certificate.
  SSL_CTX_set_session_cache_mode(tls.native_handle(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(tls.native_handle(), 0);
  tls.use_certificate_chain_file(config.tls_directory + "/tls.crt");
  tls.use_private_key_file(config.tls_directory + "/tls.key", context::pem);
  tls.load_verify_file(config.tls_directory + "/ca.crt");
  tls.set_verify_mode(boost::asio::ssl::verify_peer |
                      boost::asio::ssl::verify_fail_if_no_peer_cert);
  tls.set_verify_callback([name = config.client_name](bool chained, auto& context) {
    if (!chained) return false;
    if (has_name(context.native_handle(), name)) return true;
    X509_STORE_CTX_set_error(context.native_handle(), X509_V_ERR_HOSTNAME_MISMATCH);
    log::warning("client refused: its certificate is not the controller's", {{"expected", name}});
    return false;
  });
}

void reply(const http_request& request, const ControlReply& answer) {
  http_response response(static_cast<web::http::status_code>(answer.status));
  response.set_body(answer.body, "application/json");
  // A task whose exception nobody looks at ends the process: the client may have gone.
  request.reply(response).then([](const pplx::task<void>& sent) {
    try {
      sent.get();
    } catch (const std::exception& problem) {
      log::debug("reply not sent", {{"error", problem.what()}});
    }
  });
}

void serve(http_request request, const ControlServer::Handler& handler) {
  const auto& headers = request.headers();
  if (headers.has("Transfer-Encoding") || headers.content_length() > kMaxBody) {
    return reply(request, {413, R"({"code":"Invalid","message":"the body is too large"})"});
  }
  request.extract_string(/*ignore_content_type=*/true)
      .then([request, &handler](const pplx::task<std::string>& read) {
        try {
          reply(request, handler({request.method(), request.relative_uri().path(), read.get()}));
        } catch (const std::exception& problem) {
          log::debug("request not read", {{"error", problem.what()}});
        }
      });
}

}  // namespace

struct ControlServer::Listener {
  Handler handler;
  std::unique_ptr<http_listener> http;
};

ControlServer::ControlServer(std::unique_ptr<Listener> listener) : listener_(std::move(listener)) {}

Result<std::unique_ptr<ControlServer>> ControlServer::start(Config config, Handler handler) {
  initialize_pool();
  for (const char* name : {"tls.crt", "tls.key", "ca.crt"}) {
    if (!std::filesystem::exists(std::filesystem::path(config.tls_directory) / name)) {
      return Error{ErrorCode::kNotFound, config.tls_directory + "/" + name + " is missing"};
    }
  }
  const bool v6 = config.listen_address.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + config.listen_address + "]" : config.listen_address;
  const std::string address = "https://" + host + ":" + std::to_string(config.port);
  auto listener = std::make_unique<Listener>();
  listener->handler = std::move(handler);
  try {
    http_listener_config http;
    http.set_ssl_context_callback([config](boost::asio::ssl::context& tls) {
      try {
        configure(tls, config);
      } catch (const std::exception& problem) {
        // Without a certificate the handshake fails: the connection is refused, not the process
        // ended.
        log::error("cannot read the TLS files",
                   {{"directory", config.tls_directory}, {"error", problem.what()}});
      }
    });
    listener->http = std::make_unique<http_listener>(address, http);
    listener->http->support(
        [&handle = listener->handler](const http_request& request) { serve(request, handle); });
    listener->http->open().wait();
  } catch (const std::exception& problem) {
    return Error{ErrorCode::kUnavailable, "listen at " + address + ": " + problem.what()};
  }
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(listener)));
}

ControlServer::~ControlServer() {
  try {
    listener_->http->close().wait();
  } catch (const std::exception& problem) {
    log::warning("control server did not close", {{"error", problem.what()}});
  }
}

}  // namespace transship::mover
