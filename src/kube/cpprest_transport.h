// CpprestTransport: Transport over cpprestsdk (HTTP/1.1, TLS by OpenSSL).
//
// Requests share kept-alive connections, except for those that must not be sent twice (`once`):
// cpprestsdk silently sends a request again when a kept-alive connection turns out closed.
// Making one costs no connection and no thread, so one per mover is fine.
#pragma once

#include <memory>

#include "base/result.h"
#include "kube/endpoint.h"
#include "kube/transport.h"

namespace transship::kube {

// Starts the process's pool of threads that all transports share: once, before anything uses
// OpenSSL, whose clean-up at the process's end it turns off (the threads still use it then). Later
// calls do nothing. Where nobody calls it, the first transport does, with 4 threads: callbacks of
// ours never hold one of them for long.
void initialize_http(int threads);

class CpprestTransport : public Transport {
 public:
  // kInvalid: the endpoint's URL cannot be read.
  static Result<std::shared_ptr<CpprestTransport>> make(Endpoint endpoint);
  ~CpprestTransport() override;

  Result<Response> request(const Request& request) override;
  Result<Response> stream(const Request& request, const OnLine& on_line,
                          const std::stop_token& stop) override;

 private:
  struct State;
  explicit CpprestTransport(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace transship::kube
