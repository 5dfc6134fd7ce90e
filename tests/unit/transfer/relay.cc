#include "relay.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "transfer/sigpipe.h"

namespace transship::transfer {
namespace {

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

struct Relay::End {
  UniqueFd socket;
  std::unique_ptr<SSL_CTX, Free> context;
  std::unique_ptr<SSL, Free> ssl;

  // With the certificate in `directory`, as the server or the client.
  bool shake_hands(const std::string& directory, bool server) {
    context.reset(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    SSL_CTX_use_certificate_chain_file(context.get(), (directory + "/tls.crt").c_str());
    SSL_CTX_use_PrivateKey_file(context.get(), (directory + "/tls.key").c_str(), SSL_FILETYPE_PEM);
    // The sender shows its certificate only where it is asked for it.
    if (server)
      SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
    ssl.reset(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), socket.get());
    return (server ? SSL_accept(ssl.get()) : SSL_connect(ssl.get())) == 1;
  }
  bool say(const char* bytes, size_t size) {
    return size == 0 || SSL_write(ssl.get(), bytes, static_cast<int>(size)) > 0;
  }
};

Relay::Relay(const std::string& directory, uint16_t to, Plan plan)
    : directory_(directory),
      plan_(std::move(plan)),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      ended_(::eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in address = loopback(0);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  // So that no end is far ahead of the other.
  const int buffer = 64 << 10;
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  EXPECT_EQ(::bind(listener_.get(), generic, size), 0);
  EXPECT_EQ(::listen(listener_.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener_.get(), generic, &size), 0);
  port = ntohs(address.sin_port);
  thread_ = std::jthread([this, to] { run(to); });
}

Relay::~Relay() {
  const uint64_t one = 1;
  EXPECT_EQ(::write(ended_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  ::shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
}

void Relay::run(uint16_t to) {
  const SigpipeBlock no_signal;  // an end may be gone when the other one's word comes
  End sender{UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)), {}, {}};
  if (!sender.socket.valid() || !sender.shake_hands(directory_ + "/receiver", /*server=*/true))
    return;
  End receiver{UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), {}, {}};
  const sockaddr_in address = loopback(to);
  if (::connect(receiver.socket.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof address) != 0 ||
      !receiver.shake_hands(directory_ + "/sender", /*server=*/false))
    return;
  bool open[2] = {true, true};
  while (open[0] || open[1]) {
    pollfd ready[3] = {{open[0] ? sender.socket.get() : -1, POLLIN, 0},
                       {open[1] ? receiver.socket.get() : -1, POLLIN, 0},
                       {ended_.get(), POLLIN, 0}};
    if (::poll(ready, 3, -1) < 0 || ready[2].revents != 0) return;
    if (ready[0].revents != 0) open[0] = forward(sender, receiver, From::kSender);
    if (ready[1].revents != 0) open[1] = forward(receiver, sender, From::kReceiver);
    if (acted && plan_.act != Act::kFlip && plan_.act != Act::kCall) return;
  }
}

// One record, and what has come with it. False at the end of what this end says, which goes on,
// too.
bool Relay::forward(End& end, End& other, From from) {
  char bytes[16384];
  do {
    const int n = SSL_read(end.ssl.get(), bytes, sizeof bytes);
    if (n <= 0) {
      const bool clean = SSL_get_error(end.ssl.get(), n) == SSL_ERROR_ZERO_RETURN;
      if (clean) SSL_shutdown(other.ssl.get());
      ::shutdown(other.socket.get(), SHUT_WR);
      return false;
    }
    const auto size = static_cast<size_t>(n);
    const size_t before = said[static_cast<size_t>(from)].fetch_add(size);
    size_t place = plan_.at;
    if (!plan_.text.empty()) {
      const size_t found = std::string_view(bytes, size).find(plan_.text);
      place = found == std::string_view::npos ? SIZE_MAX : before + found + plan_.text.size() - 1;
    }
    const bool here = from == plan_.from && !acted && plan_.act != Act::kNothing &&
                      place >= before && place < before + size;
    if (!here) {
      if (!other.say(bytes, size)) return false;
    } else {
      const size_t first = place - before;
      if (!other.say(bytes, first) || !act(end, other, bytes + first, size - first)) return false;
    }
  } while (SSL_pending(end.ssl.get()) > 0);
  return true;
}

bool Relay::act(End& end, End& other, char* bytes, size_t size) {
  acted = true;
  switch (plan_.act) {
    case Act::kFlip:
      *bytes = static_cast<char>(static_cast<unsigned char>(*bytes) ^ 1U << plan_.bit);
      return other.say(bytes, size);
    case Act::kCall:
      plan_.call();
      return other.say(bytes, size);
    case Act::kClose:
      SSL_shutdown(end.ssl.get());
      SSL_shutdown(other.ssl.get());
      // The two read it before the sockets go; what they said meanwhile would have them reset.
      ::shutdown(end.socket.get(), SHUT_WR);
      ::shutdown(other.socket.get(), SHUT_WR);
      wait_for_the_end();
      return false;
    case Act::kStall:
      wait_for_the_end();
      return false;
    default:
      return false;
  }
}

void Relay::wait_for_the_end() {
  pollfd ended{ended_.get(), POLLIN, 0};
  (void)::poll(&ended, 1, -1);
}

}  // namespace transship::transfer
