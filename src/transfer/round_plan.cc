#include "transfer/round_plan.h"

#include <algorithm>

namespace transship::transfer {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

// Less than this is not noticed beside stopping and starting a pod.
constexpr Milliseconds kWorthwhile{100};
constexpr double kMuchShorter = 0.7;
constexpr double kShorter = 0.95;

std::chrono::milliseconds whole(Milliseconds time) {
  return std::chrono::ceil<std::chrono::milliseconds>(time);
}

// Bytes a millisecond, of the round that moved most for its time: small ones say little.
double throughput(const std::vector<RoundTime>& rounds) {
  double best = 0;
  for (const RoundTime& round : rounds)
    best = std::max(
        best, static_cast<double>(round.bytes) / std::max(1.0, Milliseconds(round.took).count()));
  return best;
}

}  // namespace

RoundForecast forecast(const std::vector<RoundTime>& rounds, const RoundLimits& limits) {
  const RoundTime& last = rounds.back();
  const bool may = static_cast<int>(rounds.size()) < limits.most;
  // The final round has the receiver look at every entry, too.
  const Milliseconds look(last.looked);
  if (rounds.size() == 1) {
    // Nothing is known yet of what is written meanwhile: at worst everything.
    const Milliseconds worst = Milliseconds(last.took) + look;
    return {whole(worst), may && worst > kWorthwhile};
  }
  const RoundTime& before = rounds[rounds.size() - 2];
  const double speed = throughput(rounds);
  const double written =  // bytes a millisecond
      static_cast<double>(last.bytes) /
      std::max(1.0, Milliseconds(last.began - before.began).count());
  const double load = speed > 0 ? written / speed : 0;
  const Milliseconds sending(speed > 0 ? static_cast<double>(last.bytes) / speed : 0);
  const Milliseconds fixed = std::max(Milliseconds(0), Milliseconds(last.took) - sending);
  const Milliseconds next = fixed + load * Milliseconds(last.took);
  const Milliseconds now = next + look;
  const Milliseconds later = fixed + load * next + look;
  const bool too_long = limits.budget && now > *limits.budget;
  const bool pays =
      too_long ? later < kShorter * now : later < kMuchShorter * now && now - later > kWorthwhile;
  return {whole(now), may && pays};
}

}  // namespace transship::transfer
