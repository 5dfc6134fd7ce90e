#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/unit/kube/dial.h"

namespace transship::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

}  // namespace
}  // namespace transship::kube
