// Mutual TLS 1.3 between two movers. Each end shows its certificate, demands that the other's
// chains to the CA and carries exactly one given DNS name, and that the connection is closed
// properly (close_notify, RFC 8446 section 6.1): a stream that just stops is an error. Names are
// SANs; the common name never counts.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "transfer/byte_stream.h"
#include "transfer/tls_credentials.h"
#include "transfer/until.h"

namespace transship::transfer {

struct TlsOptions {
  TlsCredentials credentials;
  std::string expected_name;  // the DNS SAN the peer must carry
  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds idle_timeout{
      600'000};  // a read or write without any progress: kTimeout
};

// An established connection. Reads and writes by one thread at a time; each returns within the idle
// timeout, the deadline or soon after the stop of the `until` last set.
class TlsStream final : public Sink, public Source {
 public:
  class Connection;
  explicit TlsStream(std::unique_ptr<Connection> connection);
  ~TlsStream() override;  // closes without close_notify where close() was not called
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  void set_until(Until until);

  // Writes of less than 128 KiB are gathered; flush() sends what is left.
  Status write(Bytes data) override;
  Status flush();

  // 0 only after the peer's close_notify; kCorrupt where the connection ends without one.
  Result<size_t> read(MutableBytes buffer) override;

  // What the link delivered lately when it was the link that was waited for, bytes a second
  // (tcp(7), tcpi_delivery_rate); 0: not known.
  [[nodiscard]] double delivery_rate() const;

  // Whether a read would find something now (data, an end or an error).
  [[nodiscard]] bool readable();
  // Waits until a read would, or the descriptor `wake` is readable, or the time is over.
  void wait_readable(std::chrono::milliseconds time, int wake);

  // Flushes and sends close_notify: the peer sees an authenticated end. Reading stays possible.
  Status close();

  // Whether it is of no use any more: an operation on it has failed, other than by the peer's not
  // taking us.
  [[nodiscard]] bool broken() const;

  [[nodiscard]] const std::string& peer() const;  // "10.0.0.1:40312"

 private:
  Result<size_t> receive(MutableBytes buffer);  // what one record has, as read()

  std::unique_ptr<Connection> connection_;
};

// Waits for a peer that completes the handshake.
class TlsListener {
 public:
  // `address` is an IP address ("0.0.0.0", "::"); port 0 takes a free one. kInvalid where the
  // credentials cannot be used.
  static Result<TlsListener> listen(const std::string& address, uint16_t port,
                                    const TlsOptions& options);
  ~TlsListener();
  TlsListener(TlsListener&&) noexcept;
  TlsListener& operator=(TlsListener&&) noexcept;

  [[nodiscard]] uint16_t port() const;

  // The first peer that completes the handshake. Others, who are too slow or not who they must be,
  // are dropped and logged; they never hold up the right one (at most 16 handshakes at a time, the
  // oldest gives way). kTimeout, kCancelled as `until` says, which the stream keeps.
  Result<std::unique_ptr<TlsStream>> accept(const Until& until);

 private:
  struct State;
  explicit TlsListener(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Connects to `host` (an IP address or a name) and completes the handshake. kUnavailable: nobody
// listens there (yet); kForbidden: the peer is not who it must be. That the peer does not take us
// shows (kForbidden, too) with the first read: TLS 1.3 has the client go on before it is checked.
Result<std::unique_ptr<TlsStream>> tls_connect(const std::string& host, uint16_t port,
                                               const TlsOptions& options, const Until& until);

}  // namespace transship::transfer
