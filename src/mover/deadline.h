// Deadline: how long a task may go on, and whether somebody has asked it to stop.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string_view>

#include "base/result.h"

namespace transship::mover {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  // Ends `limit` from now; zero is never. `stop` ends it at once.
  Deadline(std::stop_token stop, std::chrono::milliseconds limit);

  // The same stop, and the earlier of this end and `limit` from now: for one step of a task.
  [[nodiscard]] Deadline at_most(std::chrono::milliseconds limit) const;

  // OK while there is time; kCancelled when asked to stop, kTimeout when the end has passed.
  // `doing`
  // ("wait for the pod's processes to end") begins the message.
  [[nodiscard]] Status check(std::string_view doing) const;

  // Blocks for `pause` or until the deadline or the stop, whichever is first; then as check().
  [[nodiscard]] Status wait(std::chrono::milliseconds pause, std::string_view doing) const;

  // For calls that take an end of their own; nullopt is never.
  [[nodiscard]] std::optional<Clock::time_point> end() const { return end_; }
  [[nodiscard]] const std::stop_token& stop() const { return stop_; }

 private:
  std::stop_token stop_;
  std::optional<Clock::time_point> end_;
};

}  // namespace transship::mover
