// Who may talk, and what an end of the connection means.
#include "transfer/tls.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <numeric>

#include "tls_fixture.h"

namespace transship::transfer {
namespace {

// A connection that says nothing.
UniqueFd raw_connection(uint16_t port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    socket.reset();
  }
  return socket;
}

Status read_all(TlsStream& stream, std::vector<std::byte>& all) {
  std::vector<std::byte> buffer(100000);
  while (true) {
    auto n = stream.read(buffer);
    if (!n) return n.error();
    if (*n == 0) return {};
    all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(*n));
  }
}

TEST_F(TlsTest, BytesArriveAndTheEndIsSeen) {
  connect_both();
  std::vector<std::byte> sent(5'000'001);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7 + i / 977);
  std::vector<std::byte> received;
  auto reading = std::async(std::launch::async, [&] { return read_all(*receiver_, received); });
  Bytes rest(sent);
  for (size_t part = 1; !rest.empty(); part = part * 2 + 1) {
    const size_t n = std::min(part, rest.size());
    ASSERT_TRUE(sender_->write(rest.first(n)).ok());
    rest = rest.subspan(n);
  }
  ASSERT_TRUE(sender_->close().ok());
  const Status read = reading.get();
  EXPECT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(received, sent);
}

TEST_F(TlsTest, AnEndWithoutCloseNotifyIsAnError) {
  connect_both();
  ASSERT_TRUE(sender_->write(as_bytes("half")).ok());
  ASSERT_TRUE(sender_->flush().ok());
  sender_.reset();
  std::vector<std::byte> received;
  const Status read = read_all(*receiver_, received);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(received.size(), 4U);
}

TEST_F(TlsTest, AStallTimesOut) {
  auto options = receiver_options();
  options.idle_timeout = std::chrono::milliseconds(100);
  listen(options);
  connect_both();
  std::array<std::byte, 10> buffer{};
  auto read = receiver_->read(buffer);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kTimeout) << read.error().message;
}

TEST_F(TlsTest, AWriteToAPeerThatDoesNotReadTimesOut) {
  auto accepted = accept();
  auto options = sender_options();
  options.idle_timeout = std::chrono::milliseconds(100);
  auto connected = connect(options);
  ASSERT_TRUE(connected.ok());
  auto taken = accepted.get();
  ASSERT_TRUE(taken.ok());
  const std::vector<std::byte> much(100 << 20);
  const Status written = (*connected)->write(much);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kTimeout) << written.error().message;
}

TEST_F(TlsTest, AStopEndsAWaitingRead) {
  connect_both();
  std::stop_source stop;
  receiver_->set_until({stop.get_token(), {}});
  std::array<std::byte, 10> buffer{};
  auto reading = std::async(std::launch::async, [&] { return receiver_->read(buffer); });
  stop.request_stop();
  auto read = reading.get();
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kCancelled);
}

TEST_F(TlsTest, AnAcceptEndsWithItsDeadlineOrStop) {
  auto late = accept({{}, Until::Clock::now() + std::chrono::milliseconds(50)}).get();
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, ErrorCode::kTimeout);
  std::stop_source stop;
  auto stopped = accept({stop.get_token(), {}});
  stop.request_stop();
  EXPECT_EQ(stopped.get().error().code, ErrorCode::kCancelled);
}

TEST_F(TlsTest, NobodyListeningIsUnavailable) {
  const uint16_t port = listener_->port();
  listener_.reset();
  auto connected = tls_connect("127.0.0.1", port, sender_options(), {});
  ASSERT_FALSE(connected.ok());
  EXPECT_EQ(connected.error().code, ErrorCode::kUnavailable) << connected.error().message;
}

TEST_F(TlsTest, ThePeersNameMustBeTheExpectedOne) {
  auto accepted = accept();
  auto options = sender_options();
  options.expected_name = "m.receiver.2";
  auto wrong = connect(options);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().code, ErrorCode::kForbidden) << wrong.error().message;
  auto right = connect(sender_options());
  EXPECT_TRUE(right.ok());
  EXPECT_TRUE(accepted.get().ok());
}

// Everybody but the right one is dropped; whoever comes after is taken.
TEST_F(TlsTest, StrangersAreDroppedAndDoNotHinder) {
  const mover::TestAuthority other;
  other.issue(scratch_.path("foreign"), "m.sender.1");
  authority_.issue(scratch_.path("elder"), "m.sender.0");
  authority_.issue(scratch_.path("wild"), "*.sender.1");
  authority_.issue(scratch_.path("expired"), "m.sender.1", -30);
  shell(scratch_.path(), "cp receiver/ca.crt foreign/ca.crt");  // so that it trusts the receiver
  auto accepted = accept();
  std::vector<std::unique_ptr<TlsStream>> strangers;
  for (const char* name : {"foreign", "elder", "wild", "expired"}) {
    auto stranger = connect(options(name, "m.receiver.1"));
    if (!stranger.ok()) continue;  // TLS 1.3: a client learns only later that it was refused
    std::array<std::byte, 1> buffer{};
    EXPECT_FALSE((*stranger)->read(buffer).ok()) << name;
    strangers.push_back(std::move(stranger).value());
  }
  const std::string port = std::to_string(listener_->port());
  shell(scratch_.path(), "echo Q | openssl s_client -connect 127.0.0.1:" + port);  // no certificate
  shell(scratch_.path(),
        "echo Q | openssl s_client -tls1_2 -cert sender/tls.crt -key sender/tls.key "
        "-connect 127.0.0.1:" +
            port);
  shell(scratch_.path(), "exec 3<>/dev/tcp/127.0.0.1/" + port + "; echo garbage >&3");
  auto right = connect(sender_options());
  ASSERT_TRUE(right.ok()) << right.error().message;
  auto taken = accepted.get();
  ASSERT_TRUE(taken.ok());
  ASSERT_TRUE((*right)->write(as_bytes("hello")).ok());
  ASSERT_TRUE((*right)->close().ok());
  std::vector<std::byte> received;
  EXPECT_TRUE(read_all(**taken, received).ok());
  EXPECT_EQ(received.size(), 5U);
}

TEST_F(TlsTest, SilentConnectionsDoNotBlockTheRightOne) {
  std::vector<UniqueFd> silent;
  silent.reserve(40);
  for (int i = 0; i < 40; ++i) silent.push_back(raw_connection(listener_->port()));
  connect_both();
  EXPECT_NE(receiver_, nullptr);
}

TEST_F(TlsTest, AServerThatNeverShakesHandsTimesOut) {
  auto options = sender_options();
  options.handshake_timeout = std::chrono::milliseconds(100);
  auto connected = connect(options);  // nobody accepts
  ASSERT_FALSE(connected.ok());
  EXPECT_EQ(connected.error().code, ErrorCode::kTimeout) << connected.error().message;
}

TEST_F(TlsTest, AnExpiredReceiverIsRefused) {
  authority_.issue(scratch_.path("expired"), "m.receiver.1", -30);
  listen(options("expired", "m.sender.1"));
  std::stop_source stop;
  auto accepted = accept({stop.get_token(), {}});
  auto connected = connect(sender_options());
  stop.request_stop();
  ASSERT_FALSE(connected.ok());
  EXPECT_EQ(connected.error().code, ErrorCode::kForbidden) << connected.error().message;
  EXPECT_FALSE(accepted.get().ok());
}

// Bytes that come one by one are no reason to wait longer.
TEST_F(TlsTest, WhoNeverEndsItsHandshakeIsDropped) {
  auto options = receiver_options();
  options.handshake_timeout = std::chrono::milliseconds(100);
  listen(options);
  std::stop_source stop;
  auto accepted = accept({stop.get_token(), {}});
  const UniqueFd slow = raw_connection(listener_->port());
  const char head[] = {22, 3, 1, 64, 0};  // of a record of 16 KiB
  EXPECT_EQ(::send(slow.get(), head, sizeof head, MSG_NOSIGNAL), 5);
  pollfd ended{slow.get(), POLLIN, 0};
  while (::poll(&ended, 1, /*milliseconds=*/5) == 0) {
    if (::send(slow.get(), "", 1, MSG_NOSIGNAL) != 1) break;
  }
  stop.request_stop();
  EXPECT_FALSE(accepted.get().ok());
}

TEST_F(TlsTest, UnusableFilesAreNamed) {
  for (const std::string file : {"ca.crt", "tls.crt", "tls.key"}) {
    shell(scratch_.path(), "rm -rf broken; cp -r sender broken; echo x >broken/" + file);
    auto connected = connect(options("broken", "m.receiver.1"));
    ASSERT_FALSE(connected.ok()) << file;
    EXPECT_EQ(connected.error().code, ErrorCode::kInvalid);
    EXPECT_NE(connected.error().message.find("broken/" + file), std::string::npos)
        << connected.error().message;
    shell(scratch_.path(), "head -c 70000 /dev/zero >broken/" + file);
    const auto large = read_tls_credentials(scratch_.path("broken"));
    ASSERT_FALSE(large.ok()) << file;
    EXPECT_EQ(large.error().code, ErrorCode::kInvalid) << large.error().message;
  }
  EXPECT_EQ(read_tls_credentials(scratch_.path("none")).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace transship::transfer
