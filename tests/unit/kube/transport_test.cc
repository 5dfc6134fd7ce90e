#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kube/cpprest_transport.h"
#include "tests/fakes/kube/test_server.h"
#include "tests/unit/mover/test_certificates.h"

namespace transship::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<CpprestTransport> dial(Endpoint endpoint) {
  auto made = CpprestTransport::make(std::move(endpoint));
  EXPECT_TRUE(made.ok());
  return made.ok() ? *made : nullptr;
}

std::shared_ptr<CpprestTransport> dial(const TestServer& server) {
  return dial(Endpoint{.base_url = server.url()});
}

bool hello(const TestServer::Request&, TestServer::Connection& connection) {
  connection.answer(200, "hello");
  return true;
}

std::vector<std::string> collect(Transport& transport, Result<Response>& result,
                                 std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
  std::vector<std::string> lines;
  result = transport.stream({.target = "/", .timeout = timeout},
                            [&lines](std::string_view line) {
                              lines.emplace_back(line);
                              return true;
                            },
                            {});
  return lines;
}

TEST(Transport, SendsARequestAndGivesTheAnswer) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.answer(429, "busy", "Retry-After: 7\r\n");
    return true;
  });
  auto transport = dial(Endpoint{.base_url = server.url() + "/below",
                                 .credentials = fixed_credentials({.token = "secret"})});
  const auto answer = transport->request({.method = "PATCH",
                                          .target = "/api/v1/pods?a=b%20c%2Fd",
                                          .body = "{}",
                                          .content_type = "application/merge-patch+json",
                                          .headers = {{"Accept", "application/json"}},
                                          .host_override = "other"});
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->status, 429);
  EXPECT_EQ(answer->body, "busy");
  EXPECT_EQ(answer->retry_after_seconds, 7);
  ASSERT_EQ(server.requests().size(), 1U);
  const TestServer::Request request = server.requests().front();
  EXPECT_EQ(request.line(), "PATCH /below/api/v1/pods?a=b%20c%2Fd HTTP/1.1");
  EXPECT_EQ(request.body, "{}");
  for (const char* header :
       {"Authorization: Bearer secret", "Content-Type: application/merge-patch+json",
        "Accept: application/json", "Host: other"}) {
    EXPECT_TRUE(request.has(header)) << header << " in\n" << request.head;
  }
}

TEST(Transport, RefusesAnUrlThatIsNone) {
  for (const char* url : {"", "10.0.0.1:6443", "ftp://host", "https://", "https://a b"}) {
    const auto made = CpprestTransport::make(Endpoint{.base_url = url});
    ASSERT_FALSE(made.ok()) << url;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalid) << url;
  }
}

TEST(Transport, SaysThatNobodyIsThere) {
  std::string url;
  {
    const TestServer server(hello);
    url = server.url();
  }
  const auto answer = dial(Endpoint{.base_url = url})->request({.target = "/"});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(answer.error().message, HasSubstr(url));
}

TEST(Transport, DoesNotWaitLongerThanItsTimeout) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.drain();
    return false;
  });
  const auto answer =
      dial(server)->request({.target = "/", .timeout = std::chrono::milliseconds(50)});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kTimeout);
}

TEST(Transport, TheTimeoutIsForTheWholeAnswer) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.begin_chunks();
    connection.chunk("the beginning");
    connection.drain();
    return false;
  });
  const auto answer =
      dial(server)->request({.target = "/", .timeout = std::chrono::milliseconds(50)});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kTimeout);
}

TEST(Transport, RefusesAnAnswerThatIsTooLong) {
  const std::string mebibyte(std::size_t{1} << 20U, 'x');
  TestServer server([&](const TestServer::Request&, TestServer::Connection& connection) {
    connection.begin_chunks();
    for (int i = 0; i < 65; ++i) connection.chunk(mebibyte);
    connection.chunk("");
    return true;
  });
  const auto answer = dial(server)->request({.target = "/"});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kInvalid);
}

TEST(Transport, AnAnswerThatBreaksOffIsAnError) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    return false;
  });
  const auto answer = dial(server)->request({.target = "/"});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
}

TEST(Transport, AReadSurvivesThatTheServerClosesKeptConnections) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.answer(200, "hello");
    return false;
  });
  const auto transport = dial(server);
  for (int i = 0; i < 50; ++i) {
    const auto answer = transport->request({.target = "/"});
    ASSERT_TRUE(answer.ok()) << answer.error().message;
  }
}

TEST(Transport, AWriteThatMustBeSentOnceIsSentOnce) {
  TestServer server([](const TestServer::Request& request, TestServer::Connection& connection) {
    if (!request.line().starts_with("GET")) return false;
    connection.answer(200, "hello");
    return true;
  });
  const auto transport = dial(server);
  for (const char* method : {"POST", "PATCH"}) {
    ASSERT_TRUE(transport->request({.target = "/"}).ok());
    const auto written =
        transport->request({.method = method, .target = "/", .body = "{}", .once = true});
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().code, ErrorCode::kUnavailable);
  }
  std::vector<std::string> lines;
  for (const auto& request : server.requests()) lines.push_back(request.line());
  EXPECT_THAT(lines, ElementsAre("GET / HTTP/1.1", "POST / HTTP/1.1", "GET / HTTP/1.1",
                                 "PATCH / HTTP/1.1"));
}

class CountingCredentials : public CredentialSource {
 public:
  Result<Credentials> get() override {
    return Credentials{.token = "token-" + std::to_string(refused)};
  }
  void rejected() override { ++refused; }
  std::atomic<int> refused = 0;
};

TEST(Transport, ATokenThatIsRefusedIsReplacedOnce) {
  TestServer server([](const TestServer::Request& request, TestServer::Connection& connection) {
    connection.answer(request.has("Authorization: Bearer token-1") ? 200 : 401, "answer");
    return true;
  });
  const auto credentials = std::make_shared<CountingCredentials>();
  const auto transport = dial(Endpoint{.base_url = server.url(), .credentials = credentials});
  EXPECT_EQ(transport->request({.target = "/"})->status, 200);
  EXPECT_EQ(credentials->refused, 1);

  credentials->refused = 5;
  EXPECT_EQ(transport->request({.target = "/"})->status, 401);
  EXPECT_EQ(credentials->refused, 6);
}

TEST(Transport, AStreamWhoseTokenIsRefusedIsAskedForAgain) {
  TestServer server([](const TestServer::Request& request, TestServer::Connection& connection) {
    const bool known = request.has("Authorization: Bearer token-1");
    connection.begin_chunks(known ? 200 : 401);
    connection.chunk(known ? "line\n" : "who are you?");
    connection.chunk("");
    return true;
  });
  const auto transport = dial(
      Endpoint{.base_url = server.url(), .credentials = std::make_shared<CountingCredentials>()});
  Result<Response> result = Response{};
  EXPECT_THAT(collect(*transport, result), ElementsAre("line"));
  EXPECT_EQ(result->status, 200);
}

TEST(Stream, GivesLinesWhereverTheyAreCut) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.begin_chunks();
    for (const char* piece : {"on", "e\ntwo\r\n\nth", "ree", "\n", "rest"}) connection.chunk(piece);
    connection.chunk("");
    return true;
  });
  Result<Response> result = Response{};
  EXPECT_THAT(collect(*dial(server), result), ElementsAre("one", "two", "three", "rest"));
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->status, 200);
  EXPECT_EQ(result->body, "");
}

TEST(Stream, ManyLinesComeWholeThroughASlowReader) {
  constexpr int kLines = 20000;
  const std::string filler(200, 'x');
  TestServer server([&](const TestServer::Request&, TestServer::Connection& connection) {
    connection.begin_chunks();
    for (int i = 0; i < kLines; ++i) connection.chunk(std::to_string(i) + filler + "\n");
    connection.chunk("");
    return true;
  });
  Result<Response> result = Response{};
  const auto lines = collect(*dial(server), result);
  ASSERT_TRUE(result.ok()) << result.error().message;
  ASSERT_EQ(lines.size(), std::size_t{kLines});
  for (int i = 0; i < kLines; ++i) {
    ASSERT_EQ(lines[static_cast<std::size_t>(i)], std::to_string(i) + filler);
  }
}

TEST(Stream, AnotherStatusIsTheAnswerAndNoLine) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.answer(410, "{\"reason\":\n\"Expired\"}");
    return true;
  });
  Result<Response> result = Response{};
  EXPECT_THAT(collect(*dial(server), result), ElementsAre());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->status, 410);
  EXPECT_EQ(result->body, "{\"reason\":\n\"Expired\"}");
}

// The server sends two lines and then nothing, until the client goes.
bool two_lines(const TestServer::Request&, TestServer::Connection& connection) {
  connection.begin_chunks();
  connection.chunk("one\ntwo\n");
  connection.drain();
  return false;
}

TEST(Stream, EndsWhenTheReaderWantsNoMore) {
  TestServer server(two_lines);
  int lines = 0;
  const auto result =
      dial(server)->stream({.target = "/"}, [&](std::string_view) { return ++lines < 1; }, {});
  EXPECT_EQ(lines, 1);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->status, 200);
}

TEST(Stream, EndsWhenAsked) {
  TestServer server(two_lines);
  std::stop_source stop;
  const auto result = dial(server)->stream(
      {.target = "/"},
      [&](std::string_view line) {
        if (line == "two") stop.request_stop();
        return true;
      },
      stop.get_token());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

TEST(Stream, EndsWhenAskedBeforeTheServerAnswers) {
  std::stop_source stop;
  TestServer server([&](const TestServer::Request&, TestServer::Connection& connection) {
    stop.request_stop();
    connection.drain();
    return false;
  });
  const auto result = dial(server)->stream(
      {.target = "/"}, [](std::string_view) { return true; }, stop.get_token());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

// The timeout is for any silence, also for one before the first line: on a busy machine that may be
// longer than the shortest here. Whatever comes before it, a silence ends the stream.
TEST(Stream, EndsAfterTooLongASilence) {
  TestServer server(two_lines);
  std::vector<std::string> lines;
  for (auto silence = std::chrono::milliseconds(100); lines.size() < 2; silence *= 2) {
    Result<Response> result = Response{};
    lines = collect(*dial(server), result, silence);
    ASSERT_FALSE(result.ok());
    ASSERT_EQ(result.error().code, ErrorCode::kTimeout) << result.error().message;
  }
  EXPECT_THAT(lines, ElementsAre("one", "two"));
}

TEST(Stream, ABodyThatBreaksOffIsAnError) {
  TestServer server([](const TestServer::Request&, TestServer::Connection& connection) {
    connection.begin_chunks();
    connection.chunk("one\n");
    return false;
  });
  Result<Response> result = Response{};
  EXPECT_THAT(collect(*dial(server), result), ElementsAre("one"));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
}

TEST(Stream, RefusesALineThatIsTooLong) {
  const std::string mebibyte(std::size_t{1} << 20U, 'x');
  TestServer server([&](const TestServer::Request&, TestServer::Connection& connection) {
    connection.begin_chunks();
    for (int i = 0; i < 17; ++i) connection.chunk(mebibyte);
    connection.drain();
    return false;
  });
  Result<Response> result = Response{};
  EXPECT_THAT(collect(*dial(server), result), ElementsAre());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
}

// A server "mover-a" and a client, both of one authority; another authority is "stranger".
class Tls : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] =
        "/tmp/transship-tls-XX"
        "XX"
        "XX";
    directory_ = ::mkdtemp(pattern);
    ours_.issue(directory_ / "server", "mover-a");
    ours_.issue(directory_ / "client", "controller");
    stranger_.issue(directory_ / "stranger", "mover-a");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::string read(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(directory_ / path).rdbuf();
    return text.str();
  }
  [[nodiscard]] TestServer::Tls server() const { return {.directory = directory_ / "server"}; }
  [[nodiscard]] Credentials trusting(const std::string& who) const {
    return {.ca = read(who + "/ca.crt")};
  }
  [[nodiscard]] Credentials with_certificate(const std::string& who) const {
    return {.ca = read("server/ca.crt"),
            .certificate = read(who + "/tls.crt"),
            .key = read(who + "/tls.key")};
  }
  // "200", or the error's code and message.
  static std::string ask(const TestServer& server, const Credentials& credentials,
                         const std::string& name, const std::string& host_override = "") {
    return ask(Endpoint{.base_url = server.url(),
                        .credentials = fixed_credentials(credentials),
                        .tls_server_name = name},
               host_override);
  }
  static std::string ask(Endpoint endpoint, const std::string& host_override = "") {
    const auto answer =
        dial(std::move(endpoint))->request({.target = "/", .host_override = host_override});
    if (answer.ok()) return std::to_string(answer->status);
    return std::string(to_string(answer.error().code)) + " " + answer.error().message;
  }

  std::filesystem::path directory_;

 private:
  mover::TestAuthority ours_;
  mover::TestAuthority stranger_;
};

constexpr const char* kRefused = "Invalid .*TLS handshake.*its certificate is";

TEST_F(Tls, AServerIsKnownByTheNameInItsCertificate) {
  TestServer there(server(), hello);
  EXPECT_EQ(ask(there, trusting("server"), "mover-a"), "200");
  EXPECT_EQ(ask(there, trusting("server"), "mover-b", "mover-a"), "200");
  EXPECT_THAT(ask(there, trusting("server"), "mover-b"), testing::ContainsRegex(kRefused));
  EXPECT_THAT(ask(there, trusting("server"), "mover-a", "mover-b"),
              testing::ContainsRegex(kRefused));
  // By its address, which is not in the certificate.
  EXPECT_THAT(ask(there, trusting("server"), ""), testing::ContainsRegex(kRefused));
}

TEST_F(Tls, AConnectionMadeForOneNameIsNotUsedForAnother) {
  TestServer there(server(), hello);
  const auto transport = dial(Endpoint{.base_url = there.url(),
                                       .credentials = fixed_credentials(trusting("server")),
                                       .tls_server_name = "mover-a"});
  EXPECT_TRUE(transport->request({.target = "/"}).ok());
  EXPECT_FALSE(transport->request({.target = "/", .host_override = "mover-b"}).ok());
}

TEST_F(Tls, OnlyTheGivenAuthorityIsTrusted) {
  TestServer there(server(), hello);
  EXPECT_THAT(ask(there, trusting("stranger"), "mover-a"), testing::ContainsRegex(kRefused));
  // Not even those that the system trusts; which it does where none is given.
  ::setenv("SSL_CERT_FILE", (directory_ / "server" / "ca.crt").c_str(), 1);
  EXPECT_EQ(ask(there, {}, "mover-a"), "200");
  EXPECT_THAT(ask(there, trusting("stranger"), "mover-a"), testing::ContainsRegex(kRefused));
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_THAT(ask(there, {}, "mover-a"), testing::ContainsRegex(kRefused));
}

TEST_F(Tls, InsecureMeansAnyCertificate) {
  TestServer there(server(), hello);
  EXPECT_EQ(ask(Endpoint{.base_url = there.url(),
                         .credentials = fixed_credentials(trusting("stranger")),
                         .tls_server_name = "mover-b",
                         .insecure = true}),
            "200");
}

TEST_F(Tls, AServerThatWantsACertificateRefusesWhoHasNone) {
  auto tls = server();
  tls.want_client_certificate = true;
  TestServer there(tls, hello);
  EXPECT_EQ(ask(there, with_certificate("client"), "mover-a"), "200");
  EXPECT_THAT(ask(there, trusting("server"), "mover-a"), testing::StartsWith("Unavailable"));
  EXPECT_THAT(ask(there, with_certificate("stranger"), "mover-a"),
              testing::StartsWith("Unavailable"));
}

TEST_F(Tls, OlderThan13IsRefusedWhereItIsRequired) {
  auto tls = server();
  tls.newest = TLS1_2_VERSION;
  TestServer there(tls, hello);
  EXPECT_EQ(ask(there, trusting("server"), "mover-a"), "200");
  const Endpoint strict{.base_url = there.url(),
                        .credentials = fixed_credentials(trusting("server")),
                        .tls_server_name = "mover-a",
                        .tls13_only = true};
  EXPECT_THAT(ask(strict), testing::StartsWith("Invalid"));
  TestServer newer(server(), hello);
  Endpoint reached = strict;
  reached.base_url = newer.url();
  EXPECT_EQ(ask(reached), "200");
}

TEST_F(Tls, KeysThatCannotBeReadAreSaid) {
  TestServer there(server(), hello);
  EXPECT_THAT(ask(there, {.ca = "no certificate"}, "mover-a"),
              HasSubstr("the certificate authority"));
  Credentials mixed = with_certificate("client");
  mixed.key = read("stranger/tls.key");
  EXPECT_THAT(ask(there, mixed, "mover-a"), HasSubstr("does not belong"));
  mixed.key = "";
  EXPECT_THAT(ask(there, mixed, "mover-a"), HasSubstr("the client key"));
}

TEST_F(Tls, NewKeysAreUsedForTheNextRequest) {
  class Rotating : public CredentialSource {
   public:
    Result<Credentials> get() override { return now; }
    Credentials now;
  };
  auto tls = server();
  tls.want_client_certificate = true;
  TestServer there(tls, hello);
  const auto credentials = std::make_shared<Rotating>();
  credentials->now = trusting("server");
  const auto transport = dial(
      Endpoint{.base_url = there.url(), .credentials = credentials, .tls_server_name = "mover-a"});
  EXPECT_FALSE(transport->request({.target = "/"}).ok());
  credentials->now = with_certificate("client");
  EXPECT_TRUE(transport->request({.target = "/"}).ok());
}

TEST_F(Tls, AnIpv6AddressIsDialled) {
  TestServer there(server(), hello, /*v6=*/true);
  if (there.port() == 0) GTEST_SKIP() << "this machine has no IPv6";
  EXPECT_EQ(ask(Endpoint{.base_url = there.url("[::1]"),
                         .credentials = fixed_credentials(trusting("server")),
                         .tls_server_name = "mover-a"}),
            "200");
}

}  // namespace
}  // namespace transship::kube
