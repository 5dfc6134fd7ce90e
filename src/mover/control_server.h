// The control server: HTTP over TLS 1.3 with client certificates, as api/mover_protocol.h describes
// it. Knows requests and replies, not tasks. The HTTP library (cpprestsdk) ends in
// control_server.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace transship::mover {

struct ControlRequest {
  std::string method;  // "GET", "PUT", ...
  std::string path;    // "/v1/state"
  std::string body;
};

struct ControlReply {
  int status = 200;
  std::string body;  // JSON
};

class ControlServer {
 public:
  struct Config {
    std::string listen_address = "0.0.0.0";
    uint16_t port = 0;
    std::string tls_directory;  // tls.crt, tls.key, ca.crt; read anew for each connection
    std::string client_name;    // the DNS SAN that a client's certificate must carry
  };
  // Called for each request of an authenticated client, several at once.
  using Handler = std::function<ControlReply(const ControlRequest&)>;

  // Listens once it returns. A client without a certificate, of another CA or of another name does
  // not get past the TLS handshake. Bodies above 1 MiB get 413.
  static Result<std::unique_ptr<ControlServer>> start(Config config, Handler handler);

  // Stops listening and waits for the requests that are being answered.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Listener;
  explicit ControlServer(std::unique_ptr<Listener> listener);
  std::unique_ptr<Listener> listener_;
};

}  // namespace transship::mover
