#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>

#include "base/log.h"
#include "transfer/tls_connection.h"

namespace transship::transfer {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxHandshakes = 16;
constexpr auto kStopPoll = std::chrono::milliseconds(100);

std::string name_of_peer(const sockaddr_storage& address, socklen_t size) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> service{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(),
                    service.data(), service.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return std::string(host.data()) + ":" + service.data();
}

// One who has connected and has not shown who it is yet.
struct Candidate {
  UniqueFd socket;
  Ssl ssl;
  std::string peer;
  Clock::time_point end;
  short events = POLLIN;
};

enum class Step { kDone, kWaits, kFailed };

Step shake(Candidate& candidate) {
  ERR_clear_error();
  errno = 0;
  const int result = SSL_accept(candidate.ssl.get());
  if (result == 1) return Step::kDone;
  const int kind = SSL_get_error(candidate.ssl.get(), result);
  if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
    candidate.events = kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    return Step::kWaits;
  }
  log::warning("connection dropped",
               {{"peer", candidate.peer},
                {"error", tls_error("TLS handshake", candidate.ssl.get(), result).message}});
  return Step::kFailed;
}

}  // namespace

struct TlsListener::State {
  UniqueFd socket;
  SslContext context;
  TlsOptions options;
  uint16_t port = 0;
  std::deque<Candidate> candidates;

  Status take_newcomers();
  std::unique_ptr<TlsStream> stream_of(Candidate candidate, const Until& until) const;
  // The candidate that is through, if one is; the others are moved on.
  std::unique_ptr<TlsStream> advance(const std::vector<pollfd>& polled, const Until& until);
};

Status TlsListener::State::take_newcomers() {
  for (;;) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    UniqueFd accepted(::accept4(socket.get(), reinterpret_cast<sockaddr*>(&address), &size,
                                SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted.valid()) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
      if (errno == EINTR || errno == ECONNABORTED || errno == EMFILE || errno == ENFILE) return {};
      return errno_error("accept a connection", errno);
    }
    const std::string peer = name_of_peer(address, size);
    auto ssl = make_ssl(context.get(), accepted.get(), options);
    if (!ssl.ok()) return ssl.error();
    if (!prepare_socket(accepted.get(), options).ok()) continue;
    if (candidates.size() == kMaxHandshakes) {
      log::warning("connection dropped",
                   {{"peer", candidates.front().peer}, {"error", "too many handshakes at a time"}});
      candidates.pop_front();
    }
    candidates.push_back({std::move(accepted), std::move(ssl).value(), peer,
                          Clock::now() + options.handshake_timeout});
  }
}

std::unique_ptr<TlsStream> TlsListener::State::stream_of(Candidate candidate,
                                                         const Until& until) const {
  auto connection = std::make_unique<TlsStream::Connection>();
  connection->socket = std::move(candidate.socket);
  connection->ssl = std::move(candidate.ssl);
  connection->peer = candidate.peer;
  connection->idle_timeout = options.idle_timeout;
  connection->until = until;
  return std::make_unique<TlsStream>(std::move(connection));
}

std::unique_ptr<TlsStream> TlsListener::State::advance(const std::vector<pollfd>& polled,
                                                       const Until& until) {
  const auto now = Clock::now();
  std::deque<Candidate> waiting;
  std::unique_ptr<TlsStream> chosen;
  while (!candidates.empty()) {
    Candidate candidate = std::move(candidates.front());
    candidates.pop_front();
    const auto seen = std::find_if(polled.begin(), polled.end(), [&](const pollfd& item) {
      return item.fd == candidate.socket.get();
    });
    Step step = Step::kWaits;
    if (seen == polled.end() || seen->revents != 0) step = shake(candidate);
    if (step == Step::kDone && !chosen) {
      chosen = stream_of(std::move(candidate), until);
    } else if (step == Step::kWaits && now < candidate.end) {
      waiting.push_back(std::move(candidate));
    } else if (step == Step::kWaits) {
      log::warning("connection dropped",
                   {{"peer", candidate.peer}, {"error", "its TLS handshake took too long"}});
    }
  }
  candidates = std::move(waiting);
  return chosen;
}

TlsListener::TlsListener(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsListener::~TlsListener() = default;
TlsListener::TlsListener(TlsListener&&) noexcept = default;
TlsListener& TlsListener::operator=(TlsListener&&) noexcept = default;

uint16_t TlsListener::port() const { return state_->port; }

Result<TlsListener> TlsListener::listen(const std::string& address, uint16_t port,
                                        const TlsOptions& options) {
  auto context = make_tls_context(options, /*server=*/true);
  if (!context.ok()) return context.error();
  const std::string doing = "listen on " + address + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
      code != 0) {
    return Error{ErrorCode::kInvalid, doing + ": " + ::gai_strerror(code)};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  UniqueFd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!socket.valid() ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(socket.get(), 64) != 0) {
    return errno_error(doing, errno);
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0)
    return errno_error(doing, errno);
  auto state = std::make_unique<State>();
  state->port =
      ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
                                        : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
  state->socket = std::move(socket);
  state->context = std::move(context).value();
  state->options = options;
  return TlsListener(std::move(state));
}

Result<std::unique_ptr<TlsStream>> TlsListener::accept(const Until& until) {
  for (;;) {
    TRANSSHIP_TRY(until.check("wait for the sender"));
    std::vector<pollfd> polled = {{.fd = state_->socket.get(), .events = POLLIN, .revents = 0}};
    for (const Candidate& candidate : state_->candidates) {
      polled.push_back({.fd = candidate.socket.get(), .events = candidate.events, .revents = 0});
    }
    if (::poll(polled.data(), polled.size(), static_cast<int>(kStopPoll.count())) < 0 &&
        errno != EINTR) {
      return errno_error("wait for the sender", errno);
    }
    if (polled.front().revents != 0) TRANSSHIP_TRY(state_->take_newcomers());
    if (auto stream = state_->advance(polled, until)) return stream;
  }
}

}  // namespace transship::transfer
