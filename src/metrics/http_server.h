// HttpServer: /metrics for Prometheus, /healthz and /readyz for kubelet's probes. Plain HTTP, GET
// and HEAD; every other path is 404.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace transship::metrics {

struct HttpServerOptions {
  std::string listen = {};  // "0.0.0.0:8080", "[::]:8080", "127.0.0.1:0" (any free port)

  // Called by the server's threads, several at a time. An error is answered with 503 and its
  // message.
  std::function<std::string()> metrics = {};  // the body of /metrics, e.g. Registry::text
  std::function<Status()> alive = {};         // /healthz; empty: always well
  std::function<Status()> ready = {};         // /readyz; empty: always well
};

class HttpServer {
 public:
  // Listens and answers until the server is destroyed. kInvalid: `listen` is not an address and a
  // port; kAlreadyExists: something else listens there; kForbidden: the port needs a right.
  static Result<HttpServer> start(HttpServerOptions options);

  HttpServer(HttpServer&&) noexcept;
  HttpServer& operator=(HttpServer&&) noexcept;
  ~HttpServer();  // waits for answers that are under way

  [[nodiscard]] int port() const;  // the one it listens on

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace transship::metrics
