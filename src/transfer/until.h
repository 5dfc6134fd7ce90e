// Until: how long a transfer may go on: somebody's request to stop, and an end in time.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string_view>

#include "base/result.h"

namespace transship::transfer {

struct Until {
  using Clock = std::chrono::steady_clock;

  std::stop_token stop;                  // a default one never asks
  std::optional<Clock::time_point> end;  // nullopt: never

  // OK while there is time; kCancelled when asked to stop, kTimeout after the end. `doing` ("send
  // ./a") begins the message.
  [[nodiscard]] Status check(std::string_view doing) const;

  // Blocks until `moment`, the end or the stop, whichever is first; then as check().
  [[nodiscard]] Status sleep_until(Clock::time_point moment, std::string_view doing) const;
};

}  // namespace transship::transfer
