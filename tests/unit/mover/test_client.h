// The controller's side of the control protocol for tests: one request over a TLS connection of its
// own.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace transship::mover {

// A port that nobody listens at.
inline uint16_t free_port() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return 0;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

struct TestReply {
  int status = 0;
  std::string body;
};

// nullopt where the server did not let us in. `tls_directory` empty: without a certificate.
inline std::optional<TestReply> exchange(uint16_t port, const std::filesystem::path& tls_directory,
                                         const std::string& method, const std::string& path,
                                         const std::string& body = "", int tls = TLS1_3_VERSION) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  SSL_CTX_set_max_proto_version(context.get(), tls);
  if (!tls_directory.empty()) {
    SSL_CTX_use_certificate_chain_file(context.get(), (tls_directory / "tls.crt").c_str());
    SSL_CTX_use_PrivateKey_file(context.get(), (tls_directory / "tls.key").c_str(),
                                SSL_FILETYPE_PEM);
  }
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return {};
  const std::unique_ptr<SSL, decltype(&SSL_free)> connection(SSL_new(context.get()), &SSL_free);
  SSL_set_fd(connection.get(), socket.get());
  std::string text;
  if (SSL_connect(connection.get()) == 1) {
    const std::string request =
        method + " " + path +
        " HTTP/1.1\r\nHost: mover\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\nConnection: close\r\n\r\n" + body;
    SSL_write(connection.get(), request.data(), static_cast<int>(request.size()));
    char buffer[4096];
    for (int n = 0; (n = SSL_read(connection.get(), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<size_t>(n));
    }
  }
  ERR_clear_error();
  const size_t end = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.1 ") || end == std::string::npos) return {};
  return TestReply{std::stoi(text.substr(9, 3)), text.substr(end + 4)};
}

}  // namespace transship::mover
