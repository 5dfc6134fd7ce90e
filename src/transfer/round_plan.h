// RoundPlan: whether another round pays while the volumes are still in use, and how long the final
// one will be. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace transship::transfer {

// A round that was taken.
struct RoundTime {
  std::chrono::steady_clock::time_point began;
  std::chrono::milliseconds took{};    // until the receiver had read it back
  std::chrono::milliseconds looked{};  // of that, the sender's walk over all entries
  int64_t bytes = 0;                   // over the wire
};

struct RoundLimits {
  int most = 1;                                     // rounds with the volumes in use
  std::optional<std::chrono::milliseconds> budget;  // for the final round
};

struct RoundForecast {
  std::chrono::milliseconds final_round{};  // if it began now
  bool another = false;                     // whether one more round before it pays
};

// What is written in the time of a round is what the next one sends. With how fast that went
// lately, and with what a round costs apart from its bytes, the final round and the one after
// another round are foretold. Another pays where the final one does not fit the budget yet and
// still gets shorter, or where it gets shorter by much. `rounds` is not empty.
RoundForecast forecast(const std::vector<RoundTime>& rounds, const RoundLimits& limits);

}  // namespace transship::transfer
