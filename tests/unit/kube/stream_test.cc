#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stop_token>

#include "tests/unit/kube/dial.h"

namespace transship::kube {
namespace {

using testing::ElementsAre;

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

}  // namespace
}  // namespace transship::kube
