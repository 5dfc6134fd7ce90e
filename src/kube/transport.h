// Transport: HTTP requests to one server, and streams of lines from it. The seam between this room
// and the HTTP library: CpprestTransport is the real one, tests put an API server of their own
// here.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace transship::kube {

struct Request {
  std::string method = "GET";
  std::string target{};  // path and query, percent-encoded, from the first "/" on
  std::string body{};
  std::string content_type{};  // of the body
  std::vector<std::pair<std::string, std::string>> headers{};
  // Of request(): how long the answer may take, all of it. Of stream(): how long it may be silent.
  std::chrono::milliseconds timeout{30000};
  // The name that the server's certificate must have instead of the endpoint's. Empty: the
  // endpoint's.
  std::string host_override{};
  // It must not reach the server twice, e.g. a create under a generated name: it gets a connection
  // of its own, which costs a TLS handshake. Others may be sent again where a kept-alive connection
  // turns out closed.
  bool once = false;
};

struct Response {
  int status = 0;  // HTTP, e.g. 200
  std::string body{};
  int retry_after_seconds = 0;  // Retry-After; 0: none
};

// Safe from any thread. An error means that no whole answer came: kUnavailable: the server was not
// reached or the connection broke; kTimeout: it did not answer in time; kInvalid: its certificate
// is refused, or the answer is longer than the limit; kCancelled: `stop` was requested. After
// kUnavailable and kTimeout it is unknown whether a write took effect. An answer of any status is
// no error.
class Transport {
 public:
  // Takes one line, without its end. False ends the stream. Must not throw.
  using OnLine = std::function<bool(std::string_view line)>;

  static constexpr std::size_t kMaxBody = std::size_t{64} << 20U;  // bytes of an answer
  static constexpr std::size_t kMaxLine = std::size_t{16} << 20U;  // bytes of a streamed line

  virtual ~Transport() = default;

  virtual Result<Response> request(const Request& request) = 0;

  // Hands over the lines of the answer as they come, on the caller's thread; no more is read while
  // `on_line` runs. Returns when the server ends the answer or `on_line` asks to (then status 200
  // and an empty body), soon after `stop` is requested (kCancelled), or with an answer of another
  // status, of which no line was handed over.
  virtual Result<Response> stream(const Request& request, const OnLine& on_line,
                                  const std::stop_token& stop) = 0;
};

}  // namespace transship::kube
