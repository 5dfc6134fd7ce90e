// What tests of the real transport begin with: a connection to a test server, and an answer, as one
// or by lines.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kube/cpprest_transport.h"
#include "tests/fakes/kube/test_server.h"

namespace transship::kube {

inline std::shared_ptr<CpprestTransport> dial(Endpoint endpoint) {
  auto made = CpprestTransport::make(std::move(endpoint));
  EXPECT_TRUE(made.ok());
  return made.ok() ? *made : nullptr;
}

inline std::shared_ptr<CpprestTransport> dial(const TestServer& server) {
  return dial(Endpoint{.base_url = server.url()});
}

inline bool hello(const TestServer::Request&, TestServer::Connection& connection) {
  connection.answer(200, "hello");
  return true;
}

// All lines of an answer that is a stream.
inline std::vector<std::string> collect(
    Transport& transport, Result<Response>& result,
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

}  // namespace transship::kube
