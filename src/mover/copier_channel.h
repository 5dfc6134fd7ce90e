// The socket between a mover and its copier: JSON messages, each with the descriptors that go with
// it. One thread sends and one receives at a time, at either end.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::mover {

struct CopierMessage {
  nlohmann::json body;
  std::vector<UniqueFd> descriptors{};
};

class CopierChannel {
 public:
  explicit CopierChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  // Two ends that are connected.
  static Result<std::pair<UniqueFd, UniqueFd>> make();

  // kUnavailable: the other end is gone.
  [[nodiscard]] Status send(const nlohmann::json& body,
                            const std::vector<int>& descriptors = {}) const;

  // The next message; nullopt: none came within the time (negative: however long it takes).
  // kUnavailable: the other end is gone; kCorrupt: that was no message.
  [[nodiscard]] Result<std::optional<CopierMessage>> receive(std::chrono::milliseconds time) const;

  void close() { socket_.reset(); }

 private:
  UniqueFd socket_;
};

}  // namespace transship::mover
