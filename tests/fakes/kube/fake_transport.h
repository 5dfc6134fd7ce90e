// FakeTransport: gives the answers that a test has queued, and keeps what was asked.
#pragma once

#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "kube/transport.h"

namespace transship::kube {

class FakeTransport : public Transport {
 public:
  // For the next request or stream that has no answer yet.
  FakeTransport& answer(int status, const nlohmann::json& body, int retry_after_seconds = 0) {
    return answer(Response{
        .status = status, .body = body.dump(), .retry_after_seconds = retry_after_seconds});
  }
  FakeTransport& answer(Response response) {
    answers_.emplace_back(std::move(response));
    return *this;
  }
  FakeTransport& answer(Error error) {
    answers_.emplace_back(std::move(error));
    return *this;
  }
  // A stream that brings these lines before it ends with the next answer.
  FakeTransport& lines(std::vector<std::string> lines) {
    lines_ = std::move(lines);
    return *this;
  }

  Result<Response> request(const Request& request) override {
    requests.push_back(request);
    if (answers_.empty()) return Error{ErrorCode::kInternal, "the test has no further answer"};
    auto next = std::move(answers_.front());
    answers_.pop_front();
    return next;
  }

  Result<Response> stream(const Request& request, const OnLine& on_line,
                          const std::stop_token& stop) override {
    for (const std::string& line : lines_) {
      if (stop.stop_requested()) return Error{ErrorCode::kCancelled, "stopped"};
      if (!on_line(line)) {
        requests.push_back(request);
        return Response{.status = 200};
      }
    }
    return this->request(request);
  }

  std::vector<Request> requests;

 private:
  std::deque<Result<Response>> answers_;
  std::vector<std::string> lines_;
};

}  // namespace transship::kube
