#include "metrics/http_server.h"

#include <civetweb.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "base/unique_fd.h"

namespace transship::metrics {
namespace {

constexpr const char* kPlainText = "text/plain; charset=utf-8";
// The version of the exposition format that the registry writes.
constexpr const char* kMetricsText = "text/plain; version=0.0.4; charset=utf-8";

struct Answer {
  int status = 200;
  const char* content_type = kPlainText;
  std::string body;
};

const char* status_text(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

Answer health(const std::function<Status()>& check) {
  if (!check) return {.body = "ok\n"};
  const Status status = check();
  if (status.ok()) return {.body = "ok\n"};
  return {.status = 503, .body = status.error().message + "\n"};
}

Answer answer(const HttpServerOptions& options, const mg_request_info& request) {
  const std::string_view method = request.request_method;
  if (method != "GET" && method != "HEAD") return {.status = 405, .body = "use GET\n"};
  const std::string_view path = request.local_uri == nullptr ? "" : request.local_uri;
  try {
    if (path == "/healthz") return health(options.alive);
    if (path == "/readyz") return health(options.ready);
    if (path == "/metrics" && options.metrics) {
      return {.content_type = kMetricsText, .body = options.metrics()};
    }
  } catch (const std::exception& problem) {
    return {.status = 500, .body = std::string(problem.what()) + "\n"};
  }
  return {.status = 404, .body = "there are /metrics, /healthz and /readyz\n"};
}

int handle(mg_connection* connection) {
  const mg_request_info& request = *mg_get_request_info(connection);
  const Answer out = answer(*static_cast<const HttpServerOptions*>(request.user_data), request);
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
            out.status, status_text(out.status), out.content_type, out.body.size(),
            out.status == 405 ? "Allow: GET, HEAD\r\n" : "");
  if (std::string_view(request.request_method) != "HEAD") {
    mg_write(connection, out.body.data(), out.body.size());
  }
  return out.status;
}

// Why mg_start refused: it says so by this callback only, on the thread that called it.
thread_local std::string start_problem;  // NOLINT: see above

int remember_problem(const mg_connection*, const char* message) {
  if (start_problem.size() < 1000)
    start_problem += (start_problem.empty() ? "" : "; ") + std::string(message);
  return 1;  // not to be written anywhere else
}

// "0.0.0.0:8080" or "[::]:8080": civetweb would also take lists, and ports with suffixes.
bool is_address(std::string_view listen) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == listen.size()) return false;
  const std::string_view host = listen.substr(0, colon);
  const std::string_view port = listen.substr(colon + 1);
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos)
    return false;
  if (std::stoi(std::string(port)) > 65535) return false;
  return host.find_first_of(bracketed ? ", +" : ", +:") == std::string_view::npos;
}

// Opens a connection to the server and closes it.
void connect_once(const std::string& listen, int port) {
  std::string host = listen.substr(0, listen.rfind(':'));
  if (host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return;
  const UniqueFd connection(
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  (void)connect(connection.get(), found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
}

Error start_error(const std::string& listen) {
  const auto says = [](int number) {
    return start_problem.find(std::strerror(number)) != std::string::npos;
  };
  ErrorCode code = ErrorCode::kInternal;
  std::string advice;
  if (says(EADDRINUSE)) {
    code = ErrorCode::kAlreadyExists;
    advice = "; end what listens there, or choose another port";
  } else if (says(EACCES)) {
    code = ErrorCode::kForbidden;
    advice = "; choose a port above 1023";
  } else if (says(EADDRNOTAVAIL) || start_problem.find("port") != std::string::npos) {
    code = ErrorCode::kInvalid;
    advice = "; name an address of this machine and a port, e.g. 0.0.0.0:8080";
  }
  return {code, "listen on " + listen + " for metrics and probes: " +
                    (start_problem.empty() ? "the server did not start" : start_problem) + advice};
}

}  // namespace

struct HttpServer::State {
  ~State();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  HttpServerOptions options;
  mg_context* context = nullptr;
  int port = 0;
};

// civetweb sees that it has to stop when a connection comes, or within two seconds: one comes.
HttpServer::State::~State() {
  if (context == nullptr) return;
  const std::jthread waker([this](const std::stop_token& stopped) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (!stopped.stop_requested()) {
      connect_once(options.listen, port);
      never.wait_for(lock, stopped, std::chrono::milliseconds(10), [] { return false; });
    }
  });
  mg_stop(context);
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpServer::HttpServer(HttpServer&&) noexcept = default;
HttpServer& HttpServer::operator=(HttpServer&&) noexcept = default;
HttpServer::~HttpServer() = default;

int HttpServer::port() const { return state_->port; }

Result<HttpServer> HttpServer::start(HttpServerOptions options) {
  if (!is_address(options.listen)) {
    return Error{ErrorCode::kInvalid, "listen on \"" + options.listen +
                                          "\": not an address and a port, e.g. 0.0.0.0:8080"};
  }
  static std::once_flag once;
  std::call_once(once, [] { mg_init_library(MG_FEATURES_DEFAULT); });

  auto state = std::make_unique<State>();
  state->options = std::move(options);
  std::array<const char*, 9> settings = {
      "listening_ports", state->options.listen.c_str(), "num_threads", "4",    "request_timeout_ms",
      "10000",           "enable_keep_alive",           "no",          nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = handle;  // sees every request, so civetweb answers none by itself
  callbacks.log_message = remember_problem;
  start_problem.clear();
  state->context = mg_start(&callbacks, &state->options, settings.data());
  if (state->context == nullptr) return start_error(state->options.listen);
  mg_server_port port{};
  if (mg_get_server_ports(state->context, 1, &port) == 1) state->port = port.port;
  return HttpServer(std::move(state));
}

}  // namespace transship::metrics
