#include <netdb.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "transfer/tls_connection.h"

namespace transship::transfer {
namespace {

constexpr size_t kGather = size_t{128} << 10U;
constexpr size_t kRecord = size_t{16} << 10U;  // TLS's largest: a read never brings more

using Clock = std::chrono::steady_clock;

// Runs an OpenSSL call until it is through, waiting for the socket as it asks, to `moment` at most.
template <typename Call>
Result<int> complete(SSL* ssl, int socket, Clock::time_point moment, const Until& until,
                     const std::string& doing, Call call) {
  for (;;) {
    ERR_clear_error();
    errno = 0;
    const int result = call();
    if (result > 0) return result;
    const int kind = SSL_get_error(ssl, result);
    if (kind == SSL_ERROR_ZERO_RETURN) return 0;
    short events = 0;
    if (kind == SSL_ERROR_WANT_READ) events = POLLIN;
    if (kind == SSL_ERROR_WANT_WRITE) events = POLLOUT;
    if (events == 0) return tls_error(doing, ssl, result);
    TRANSSHIP_TRY(wait_socket(socket, events, moment, until, doing));
  }
}

}  // namespace

TlsStream::TlsStream(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
TlsStream::~TlsStream() = default;

void TlsStream::set_until(Until until) { connection_->until = std::move(until); }
const std::string& TlsStream::peer() const { return connection_->peer; }
bool TlsStream::broken() const { return connection_->broken; }

namespace {

// Takes note of what an operation came to.
template <typename T>
Result<T> noted(TlsStream::Connection& connection, Result<T> done) {
  if (!done.ok() && done.error().code != ErrorCode::kForbidden) connection.broken = true;
  return done;
}

// Sends what the records' BIO has gathered.
Status flush_records(TlsStream::Connection& connection, const std::string& doing) {
  BIO* const records = SSL_get_wbio(connection.ssl.get());
  while (BIO_flush(records) <= 0) {
    const int error = errno;
    if (BIO_should_retry(records) == 0)
      return Error{ErrorCode::kUnavailable, errno_error(doing, error).message};
    TRANSSHIP_TRY(wait_socket(connection.socket.get(), POLLOUT,
                              Clock::now() + connection.idle_timeout, connection.until, doing));
  }
  return {};
}

Status write_all(TlsStream::Connection& connection, Bytes data) {
  const std::string doing = "send to " + connection.peer;
  while (!data.empty()) {
    const auto part = static_cast<int>(std::min<size_t>(data.size(), size_t{1} << 30U));
    auto written = complete(connection.ssl.get(), connection.socket.get(),
                            Clock::now() + connection.idle_timeout, connection.until, doing,
                            [&] { return SSL_write(connection.ssl.get(), data.data(), part); });
    if (!written.ok()) return written.error();
    if (*written == 0)
      return Error{ErrorCode::kUnavailable, doing + ": the peer has closed the connection"};
    data = data.subspan(static_cast<size_t>(*written));
  }
  return flush_records(connection, doing);
}

}  // namespace

Status TlsStream::flush() {
  if (connection_->pending.empty()) return {};
  const std::vector<std::byte> pending = std::move(connection_->pending);
  connection_->pending.clear();
  return noted(*connection_, write_all(*connection_, pending));
}

Status TlsStream::write(Bytes data) {
  auto& pending = connection_->pending;
  if (pending.size() + data.size() < kGather) {
    if (pending.capacity() < kGather) pending.reserve(kGather);
    pending.insert(pending.end(), data.begin(), data.end());
    return {};
  }
  // Fill up what is gathered, so that nothing small goes alone, and send the rest as it lies.
  const size_t fill = std::min(data.size(), pending.empty() ? 0 : kGather - pending.size());
  pending.insert(pending.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(fill));
  TRANSSHIP_TRY(flush());
  data = data.subspan(fill);
  if (data.size() < kGather) {
    pending.reserve(kGather);
    pending.assign(data.begin(), data.end());
    return {};
  }
  return noted(*connection_, write_all(*connection_, data));
}

Result<size_t> TlsStream::read(MutableBytes buffer) {
  std::vector<std::byte>& ahead = connection_->received;
  size_t& taken = connection_->taken;
  if (taken == ahead.size()) {
    if (buffer.size() >= kRecord) return receive(buffer);
    ahead.resize(kRecord);
    taken = 0;
    auto got = receive(ahead);
    ahead.resize(got ? *got : 0);
    if (!got || *got == 0) return got;
  }
  const size_t part = std::min(buffer.size(), ahead.size() - taken);
  std::copy_n(ahead.begin() + static_cast<std::ptrdiff_t>(taken), part, buffer.begin());
  taken += part;
  return part;
}

Result<size_t> TlsStream::receive(MutableBytes buffer) {
  const std::string doing = "receive from " + connection_->peer;
  const auto most = static_cast<int>(std::min<size_t>(buffer.size(), size_t{1} << 30U));
  auto got = noted(*connection_,
                   complete(connection_->ssl.get(), connection_->socket.get(),
                            Clock::now() + connection_->idle_timeout, connection_->until, doing,
                            [&] { return SSL_read(connection_->ssl.get(), buffer.data(), most); }));
  if (!got.ok()) return got.error();
  return static_cast<size_t>(*got);
}

bool TlsStream::readable() {
  if (connection_->taken < connection_->received.size()) return true;
  if (SSL_has_pending(connection_->ssl.get()) == 1) return true;
  pollfd ready{.fd = connection_->socket.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ready, 1, 0) > 0;
}

void TlsStream::wait_readable(std::chrono::milliseconds time, int wake) {
  if (readable()) return;
  pollfd ready[] = {{.fd = connection_->socket.get(), .events = POLLIN, .revents = 0},
                    {.fd = wake, .events = POLLIN, .revents = 0}};
  (void)::poll(ready, 2, static_cast<int>(time.count()));  // too early is no harm
}

Status TlsStream::close() {
  TRANSSHIP_TRY(flush());
  ERR_clear_error();
  const std::string doing = "close the connection to " + connection_->peer;
  for (;;) {
    const int result = SSL_shutdown(connection_->ssl.get());
    // 0: our close_notify is out; the peer's is not waited for.
    if (result >= 0) return noted(*connection_, flush_records(*connection_, doing));
    const int kind = SSL_get_error(connection_->ssl.get(), result);
    if (kind != SSL_ERROR_WANT_WRITE)
      return noted<void>(*connection_, tls_error(doing, connection_->ssl.get(), result));
    TRANSSHIP_TRY(noted(*connection_, wait_socket(connection_->socket.get(), POLLOUT,
                                                  Clock::now() + connection_->idle_timeout,
                                                  connection_->until, doing)));
  }
}

namespace {

Result<UniqueFd> dial(const addrinfo& address, const TlsOptions& options, const Until& until,
                      const std::string& doing) {
  UniqueFd socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address.ai_protocol));
  if (!socket.valid()) return errno_error(doing, errno);
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return errno_error(doing, errno);
    const Status waited =
        wait_socket(socket.get(), POLLOUT, Clock::now() + options.handshake_timeout, until, doing);
    if (!waited.ok()) {
      // No answer at all: nobody is there (yet).
      const bool silent = waited.error().code == ErrorCode::kTimeout && until.check(doing).ok();
      return silent ? Error{ErrorCode::kUnavailable, waited.error().message} : waited.error();
    }
    int failed = 0;
    socklen_t size = sizeof failed;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &failed, &size) != 0) failed = errno;
    if (failed != 0) return Error{ErrorCode::kUnavailable, errno_error(doing, failed).message};
  }
  TRANSSHIP_TRY(prepare_socket(socket.get(), options));
  return socket;
}

}  // namespace

Result<std::unique_ptr<TlsStream>> tls_connect(const std::string& host, uint16_t port,
                                               const TlsOptions& options, const Until& until) {
  auto context = make_tls_context(options, /*server=*/false);
  if (!context.ok()) return context.error();
  const std::string service = std::to_string(port);
  const std::string doing = "connect to " + host + ":" + service;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(host.c_str(), service.c_str(), &hints, &found); code != 0) {
    return Error{ErrorCode::kUnavailable, doing + ": " + ::gai_strerror(code)};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  auto socket = dial(*addresses, options, until, doing);
  if (!socket.ok()) return socket.error();
  auto ssl = make_ssl(context->get(), socket->get(), options);
  if (!ssl.ok()) return ssl.error();
  auto shaken = complete(ssl->get(), socket->get(), Clock::now() + options.handshake_timeout, until,
                         doing, [&] { return SSL_connect(ssl->get()); });
  if (!shaken.ok()) return shaken.error();
  auto connection = std::make_unique<TlsStream::Connection>();
  connection->socket = std::move(socket).value();
  connection->context = std::move(context).value();
  connection->ssl = std::move(ssl).value();
  connection->peer = host + ":" + service;
  connection->idle_timeout = options.idle_timeout;
  connection->until = until;
  return std::make_unique<TlsStream>(std::move(connection));
}

}  // namespace transship::transfer
