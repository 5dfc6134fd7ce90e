// TestServer: an HTTP server at the loopback address that sends what a test says, byte by byte,
// with or without TLS.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace transship::kube {

class TestServer {
 public:
  struct Request {
    std::string head;  // the request line and the headers
    std::string body;
    [[nodiscard]] std::string line() const { return head.substr(0, head.find("\r\n")); }
    // "Name: value"; the client writes no space between the two.
    [[nodiscard]] bool has(std::string header) const {
      header.erase(header.find(": ") + 1, 1);
      return (head + "\r\n").find("\r\n" + header + "\r\n") != std::string::npos;
    }
  };

  class Connection {
   public:
    void send(std::string_view bytes) {
      while (!bytes.empty()) {
        const auto size = static_cast<int>(bytes.size());
        const long sent = tls_ ? SSL_write(tls_.get(), bytes.data(), size)
                               : ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      }
    }
    void answer(int status, std::string_view body, const std::string& headers = "") {
      send("HTTP/1.1 " + std::to_string(status) + " Status\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
    }
    void begin_chunks(int status = 200) {
      send("HTTP/1.1 " + std::to_string(status) + " Status\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    void chunk(std::string_view bytes) {  // the last one is empty
      char size[32];
      std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
      send(size);
      send(bytes);
      send("\r\n");
    }
    // Waits until the client closes.
    void drain() {
      char buffer[4096];
      while (read(buffer, sizeof buffer) > 0) {
      }
    }

   private:
    friend class TestServer;
    struct Free {
      void operator()(SSL* tls) const { SSL_free(tls); }
    };
    long read(char* buffer, std::size_t size) {
      return tls_ ? SSL_read(tls_.get(), buffer, static_cast<int>(size))
                  : ::recv(fd_.get(), buffer, size, 0);
    }
    UniqueFd fd_;
    std::unique_ptr<SSL, Free> tls_;
    std::string pending_;
  };

  // Answers one request; false: the connection is closed then.
  using Handler = std::function<bool(const Request&, Connection&)>;

  struct Tls {
    std::string directory;  // tls.crt, tls.key and ca.crt; empty: no TLS
    int newest = TLS1_3_VERSION;
    bool want_client_certificate = false;
  };

  explicit TestServer(Handler handler) : TestServer(Tls{}, std::move(handler)) {}
  TestServer(const Tls& tls, Handler handler, bool v6 = false) : handler_(std::move(handler)) {
    // A write to a client that has gone is no reason to end the tests.
    ::signal(SIGPIPE, SIG_IGN);
    if (!tls.directory.empty()) configure(tls);
    listen(v6);
    acceptor_ = std::jthread([this] { accept(); });
  }
  ~TestServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_ = {};
    const std::lock_guard lock(mutex_);
    for (auto& [connection, thread] : connections_) ::shutdown(connection.fd_.get(), SHUT_RDWR);
    connections_.clear();
    SSL_CTX_free(context_);
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  [[nodiscard]] uint16_t port() const { return port_; }
  [[nodiscard]] std::string url(const std::string& host = "127.0.0.1") const {
    return (context_ != nullptr ? "https://" : "http://") + host + ":" + std::to_string(port_);
  }
  [[nodiscard]] std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  [[nodiscard]] std::size_t connections() const {
    const std::lock_guard lock(mutex_);
    return connections_.size();
  }

 private:
  void configure(const Tls& tls) {
    context_ = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_max_proto_version(context_, tls.newest);
    SSL_CTX_use_certificate_chain_file(context_, (tls.directory + "/tls.crt").c_str());
    SSL_CTX_use_PrivateKey_file(context_, (tls.directory + "/tls.key").c_str(), SSL_FILETYPE_PEM);
    if (!tls.want_client_certificate) return;
    SSL_CTX_load_verify_locations(context_, (tls.directory + "/ca.crt").c_str(), nullptr);
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }

  void listen(bool v6) {
    sockaddr_in6 six{};
    sockaddr_in four{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* address = v6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
    socklen_t length = v6 ? sizeof six : sizeof four;
    listener_.reset(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(listener_.get(), address, length) != 0) return;
    ::getsockname(listener_.get(), address, &length);
    port_ = ntohs(v6 ? six.sin6_port : four.sin_port);
    ::listen(listener_.get(), 16);
  }

  void accept() {
    for (;;) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd.valid()) return;
      const std::lock_guard lock(mutex_);
      auto& [connection, thread] = connections_.emplace_back();
      connection.fd_ = std::move(fd);
      thread = std::jthread([this, &connection = connection] { serve(connection); });
    }
  }

  void serve(Connection& connection) {
    if (context_ != nullptr) {
      connection.tls_.reset(SSL_new(context_));
      SSL_set_fd(connection.tls_.get(), connection.fd_.get());
      SSL_accept(connection.tls_.get());
    }
    Request request;
    while (read(connection, request)) {
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      if (!handler_(request, connection)) break;
    }
    ERR_clear_error();
    ::shutdown(connection.fd_.get(), SHUT_RDWR);
  }

  static bool read(Connection& connection, Request& request) {
    std::string& text = connection.pending_;
    const auto more = [&] {
      char buffer[4096];
      const long count = connection.read(buffer, sizeof buffer);
      if (count > 0) text.append(buffer, static_cast<std::size_t>(count));
      return count > 0;
    };
    while (text.find("\r\n\r\n") == std::string::npos) {
      if (!more()) return false;
    }
    const std::size_t end = text.find("\r\n\r\n");
    request.head = text.substr(0, end);
    std::size_t length = 0;
    if (const auto at = request.head.find("Content-Length:"); at != std::string::npos) {
      length = std::stoul(request.head.substr(at + 15));
    }
    while (text.size() < end + 4 + length) {
      if (!more()) return false;
    }
    request.body = text.substr(end + 4, length);
    text.erase(0, end + 4 + length);
    return true;
  }

  const Handler handler_;
  SSL_CTX* context_ = nullptr;
  UniqueFd listener_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::list<std::pair<Connection, std::jthread>> connections_;
  std::jthread acceptor_;
};

}  // namespace transship::kube
