#include "kube/cpprest_transport.h"

#include <cpprest/http_client.h>
#include <cpprest/producerconsumerstream.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <pplx/threadpool.h>

#include <algorithm>
#include <boost/asio/ssl.hpp>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "kube/line_splitter.h"
#include "kube/tls_context.h"

namespace transship::kube {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = concurrency::streams::details::basic_producer_consumer_buffer<std::uint8_t>;
using web::http::http_request;
using web::http::http_response;

// What may wait here before the server has to wait.
constexpr std::size_t kHighWaterBytes = std::size_t{256} << 10U;
// Of the body of an answer that is not 2xx, to a stream.
constexpr std::size_t kMaxErrorBytes = std::size_t{64} << 10U;
// The library's own timeout, only as a last resort: ours are exact and differ by request.
constexpr std::chrono::hours kLibraryTimeout{1};

// One request under way: the library's threads put the answer in, its caller takes it out. The
// caller may leave at any time; what comes then is dropped.
class Exchange {
 public:
  void put_head(Response head) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    head_ = std::move(head);
    changed_.notify_all();
  }

  // Done when the next piece may come.
  pplx::task<std::size_t> put(const std::uint8_t* bytes, std::size_t count) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (left_) return pplx::task_from_exception<std::size_t>(std::runtime_error("nobody reads"));
    pieces_.append(reinterpret_cast<const char*>(bytes), count);
    changed_.notify_all();
    if (pieces_.size() < kHighWaterBytes) return pplx::task_from_result(count);
    held_back_.emplace(count, pplx::task_completion_event<std::size_t>());
    return pplx::create_task(held_back_->second);
  }

  void finish(std::optional<Error> error) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    finished_ = true;
    error_ = std::move(error);
    changed_.notify_all();
  }

  // The next piece of the body; nullopt: that was all. kTimeout, kCancelled, or why it broke.
  Result<std::optional<std::string>> next(Clock::time_point deadline, const std::stop_token& stop)
      EXCLUDES(mutex_) {
    std::optional<HeldBack> resume;
    std::string pieces;
    {
      MutexLock lock(mutex_);
      const bool came = changed_.wait_until(lock, stop, deadline, [this]() REQUIRES(mutex_) {
        return finished_ || (head_ && !pieces_.empty());
      });
      if (stop.stop_requested()) return Error{ErrorCode::kCancelled, "stopped"};
      if (!came) return Error{ErrorCode::kTimeout, "no answer in time"};
      if (!head_ || pieces_.empty()) {
        if (error_) return *error_;
        return std::optional<std::string>();
      }
      pieces.swap(pieces_);
      resume.swap(held_back_);
    }
    if (resume) resume->second.set(resume->first);
    return std::optional<std::string>(std::move(pieces));
  }

  // Without the body; nullopt until next() has returned a piece or the end.
  std::optional<Response> head() const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return head_;
  }

  // Whether it was still under way.
  bool leave() EXCLUDES(mutex_) {
    std::optional<HeldBack> resume;
    const MutexLock lock(mutex_);
    left_ = true;
    resume.swap(held_back_);
    if (resume) resume->second.set_exception(std::runtime_error("nobody reads"));
    return !finished_;
  }

 private:
  using HeldBack = std::pair<std::size_t, pplx::task_completion_event<std::size_t>>;

  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<Response> head_ GUARDED_BY(mutex_);
  std::string pieces_ GUARDED_BY(mutex_);
  std::optional<HeldBack> held_back_ GUARDED_BY(mutex_);
  bool left_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  std::optional<Error> error_ GUARDED_BY(mutex_);
};

// Where the library writes a body to.
class Sink : public Bytes {
 public:
  explicit Sink(std::shared_ptr<Exchange> exchange) : Bytes(1), exchange_(std::move(exchange)) {}

 protected:
  using Bytes::_putn;
  pplx::task<std::size_t> _putn(const std::uint8_t* bytes, std::size_t count) override {
    return exchange_->put(bytes, count);
  }

 private:
  std::shared_ptr<Exchange> exchange_;
};

// Owns an exchange for its caller, who ends it by going.
struct Call {
  explicit Call(std::shared_ptr<Exchange> begun) : exchange(std::move(begun)) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    if (exchange->leave()) cancel.cancel();
  }

  std::shared_ptr<Exchange> exchange;
  pplx::cancellation_token_source cancel;
};

// The library gives OpenSSL's packed error code, and no text of it.
Error handshake_error(const std::error_code& code) {
  const auto packed = static_cast<unsigned long>(static_cast<unsigned>(code.value()));
  const char* reason = ERR_reason_error_string(packed);
  if (ERR_SYSTEM_ERROR(packed) || ERR_GET_LIB(packed) == 0 || reason == nullptr) {
    return {ErrorCode::kUnavailable, "the connection broke in the TLS handshake"};
  }
  std::string text = std::string("TLS handshake: ") + reason;
  // Other libraries of OpenSSL than that for TLS only read certificates and signatures here.
  if (ERR_GET_LIB(packed) != ERR_LIB_SSL ||
      ERR_GET_REASON(packed) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    text += " (its certificate is expired, has another name or is not from the right authority)";
  }
  return {ErrorCode::kInvalid, text};
}

Error error_from(const std::exception_ptr& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (const web::uri_exception& error) {
    return {ErrorCode::kInvalid, error.what()};
  } catch (const web::http::http_exception& error) {
    if (std::string_view(error.what()) == "Error in SSL handshake") {
      return handshake_error(error.error_code());
    }
    const bool late = error.error_code() == std::errc::timed_out;
    return {late ? ErrorCode::kTimeout : ErrorCode::kUnavailable, error.what()};
  } catch (const std::exception& error) {
    return {ErrorCode::kUnavailable, error.what()};
  } catch (...) {
    return {ErrorCode::kInternal, "unknown exception"};
  }
}

Response head_of(const http_response& answer) {
  Response head;
  head.status = answer.status_code();
  const auto& headers = answer.headers();
  if (const auto found = headers.find("Retry-After"); found != headers.end()) {
    // The other form, a date, is not in use with the API server.
    const std::string& text = found->second;
    int seconds = 0;
    std::from_chars(text.data(), text.data() + text.size(), seconds);
    head.retry_after_seconds = std::clamp(seconds, 0, 3600);
  }
  return head;
}

// Connections that share one set of keys and certificates.
struct Connections {
  Credentials keys;  // without a token
  web::http::client::http_client_config config;
  web::http::client::http_client kept_alive;
};

bool same_keys(const Credentials& a, const Credentials& b) {
  return a.ca == b.ca && a.certificate == b.certificate && a.key == b.key;
}

// The library looks hosts up as they stand in the URL, and an IPv6 address with its brackets is
// none.
web::uri dialled(const std::string& base_url) {
  web::uri_builder url{web::uri(base_url)};
  const std::string host = url.host();
  if (host.starts_with('[') && host.ends_with(']')) {
    url.set_host(host.substr(1, host.size() - 2));
  }
  return url.to_uri();
}

using OnPiece = std::function<Result<bool>(std::string_view)>;

}  // namespace

struct CpprestTransport::State {
  Endpoint endpoint;
  Mutex mutex;
  std::shared_ptr<Connections> connections GUARDED_BY(mutex);

  Result<std::shared_ptr<Connections>> connections_for(const Credentials& credentials)
      EXCLUDES(mutex);
  Result<Response> exchange(const Request& request, bool idle, const OnPiece& on_piece,
                            Response& response, const std::stop_token& stop);
  Status pull(const Request& request, const Credentials& credentials, bool idle,
              const OnPiece& on_piece, Response& response, const std::stop_token& stop);
  http_request message(const Request& request, const std::string& token) const;
};

Result<std::shared_ptr<Connections>> CpprestTransport::State::connections_for(
    const Credentials& credentials) {
  const MutexLock lock(mutex);
  if (connections && same_keys(connections->keys, credentials)) return connections;
  TRANSSHIP_TRY(check_tls(credentials));
  Credentials keys = credentials;
  keys.token.clear();
  web::http::client::http_client_config config;
  config.set_timeout(kLibraryTimeout);
  config.set_max_redirects(0);
  config.set_validate_certificates(!endpoint.insecure);
  config.set_ssl_context_callback(
      [keys, tls13_only = endpoint.tls13_only](boost::asio::ssl::context& tls) {
        const Status configured = configure_tls(tls.native_handle(), keys, tls13_only);
        if (!configured) log::error("TLS", {{"error", configured.error().message}});
      });
  connections = std::make_shared<Connections>(Connections{
      keys, config, web::http::client::http_client(dialled(endpoint.base_url), config)});
  return connections;
}

http_request CpprestTransport::State::message(const Request& request,
                                              const std::string& token) const {
  http_request message(request.method);
  message.set_request_uri(web::uri(request.target));
  auto& headers = message.headers();
  if (!request.body.empty()) message.set_body(request.body);
  if (!request.content_type.empty()) headers.set_content_type(request.content_type);
  headers["User-Agent"] = "transship/" TRANSSHIP_VERSION;
  if (!token.empty()) headers["Authorization"] = "Bearer " + token;
  for (const auto& [name, value] : request.headers) headers[name] = value;
  // The library verifies the certificate for the Host, and keeps connections by it.
  const std::string& name =
      request.host_override.empty() ? endpoint.tls_server_name : request.host_override;
  if (!name.empty()) headers["Host"] = name;
  return message;
}

// One exchange, until its end or until `on_piece` gives false. `response` gets everything but the
// body before `on_piece` is called. `idle`: the timeout is for the time between two pieces.
Status CpprestTransport::State::pull(const Request& request, const Credentials& credentials,
                                     bool idle, const OnPiece& on_piece, Response& response,
                                     const std::stop_token& stop) {
  auto to = connections_for(credentials);
  if (!to) return to.error();
  Call call(std::make_shared<Exchange>());
  const std::shared_ptr<Exchange> exchange = call.exchange;
  http_request sent = message(request, credentials.token);
  const std::shared_ptr<concurrency::streams::details::basic_streambuf<std::uint8_t>> sink =
      std::make_shared<Sink>(exchange);
  sent.set_response_stream(concurrency::streams::streambuf<std::uint8_t>(sink).create_ostream());
  // The library silently sends a request again when the server has closed a kept-alive connection.
  // (A new one is dear: it reads the machine's certificate authorities each time, some 30 ms.)
  auto client = request.once
                    ? web::http::client::http_client(dialled(endpoint.base_url), (*to)->config)
                    : (*to)->kept_alive;
  client.request(sent, call.cancel.get_token())
      .then([exchange](const http_response& answer) {
        exchange->put_head(head_of(answer));
        return answer.content_ready();
      })
      // The last one, which observes whatever went wrong before it.
      .then([exchange](const pplx::task<http_response>& done) {
        try {
          done.get();
          exchange->finish(std::nullopt);
        } catch (...) {
          exchange->finish(error_from(std::current_exception()));
        }
      });
  auto deadline = Clock::now() + request.timeout;
  for (bool first = true;; first = false) {
    const auto piece = exchange->next(deadline, stop);
    if (!piece) return piece.error();
    if (first) response = exchange->head().value_or(Response{});
    if (!*piece) return {};
    const Result<bool> more = on_piece(**piece);
    if (!more) return more.error();
    if (!*more) return {};
    if (idle) deadline = Clock::now() + request.timeout;
  }
}

// pull() with credentials, and once more with new ones where the server refuses them.
Result<Response> CpprestTransport::State::exchange(const Request& request, bool idle,
                                                   const OnPiece& on_piece, Response& response,
                                                   const std::stop_token& stop) {
  for (bool again = false;; again = true) {
    response = {};
    const auto credentials =
        endpoint.credentials ? endpoint.credentials->get() : Result<Credentials>(Credentials{});
    if (!credentials) return credentials.error();
    try {
      const Status pulled = pull(request, *credentials, idle, on_piece, response, stop);
      if (!pulled) return pulled.error().during(endpoint.base_url);
    } catch (const std::exception&) {
      return error_from(std::current_exception()).during(endpoint.base_url);
    }
    if (response.status != 401 || again || !endpoint.credentials) return std::move(response);
    endpoint.credentials->rejected();
  }
}

CpprestTransport::CpprestTransport(std::unique_ptr<State> state) : state_(std::move(state)) {}
CpprestTransport::~CpprestTransport() = default;

Result<std::shared_ptr<CpprestTransport>> CpprestTransport::make(Endpoint endpoint) {
  initialize_http(4);
  try {
    const web::uri uri(endpoint.base_url);
    if ((uri.scheme() != "https" && uri.scheme() != "http") || uri.host().empty()) {
      return Error{ErrorCode::kInvalid, "server " + endpoint.base_url + ": not an https:// URL"};
    }
  } catch (const std::exception& problem) {
    return Error{ErrorCode::kInvalid, "server " + endpoint.base_url + ": " + problem.what()};
  }
  auto state = std::make_unique<State>();
  state->endpoint = std::move(endpoint);
  return std::shared_ptr<CpprestTransport>(new CpprestTransport(std::move(state)));
}

Result<Response> CpprestTransport::request(const Request& request) {
  Response response;
  const OnPiece add = [&response](std::string_view piece) -> Result<bool> {
    if (response.body.size() + piece.size() > kMaxBody) {
      return Error{ErrorCode::kInvalid, "the answer is longer than 64 MiB"};
    }
    response.body += piece;
    return true;
  };
  return state_->exchange(request, /*idle=*/false, add, response, {});
}

Result<Response> CpprestTransport::stream(const Request& request, const OnLine& on_line,
                                          const std::stop_token& stop) {
  Response response;
  LineSplitter lines(on_line, kMaxLine);
  const OnPiece add = [&](std::string_view piece) -> Result<bool> {
    if (response.status / 100 == 2) return lines.add(piece);
    response.body += piece;
    return response.body.size() < kMaxErrorBytes;
  };
  auto done = state_->exchange(request, /*idle=*/true, add, response, stop);
  if (done && done->status / 100 == 2) lines.finish();
  return done;
}

void initialize_http(int threads) {
  static std::once_flag once;
  std::call_once(once, [threads] {
    // The library's threads end after OpenSSL would have cleaned up, and use it until then.
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
    try {
      crossplat::threadpool::initialize_with_threads(
          static_cast<std::size_t>(std::max(1, threads)));
    } catch (const std::exception&) {
      log::debug("the HTTP library has its threads already");
    }
  });
}

}  // namespace transship::kube
