// The downtime to expect.
#include <algorithm>

#include "controller/steps.h"

namespace transship::controller {
namespace {

// What stopping a pod that ends at once and starting it on the target take apart from the final
// round (docs/benchmarks.md), rounded up. The budget is the user's; this much of it is spent.
constexpr double kStopAndStartSeconds = 3;

// Bytes of memory a second, as measured there; the link is measured by the rounds.
constexpr double kDumpRate = 1e9;
constexpr double kSendRate = 4e8;
constexpr double kRestoreRate = 1e9;
constexpr int64_t kEnoughToMeasure = int64_t{256} << 20;

double send_rate(const Context& context) {
  double rate = kSendRate;
  double seconds = 0;
  int64_t bytes = 0;
  for (const api::Round& round : context.status.rounds) {
    seconds += round.seconds;
    bytes += round.bytes;
  }
  if (bytes >= kEnoughToMeasure && seconds > 0) rate = static_cast<double>(bytes) / seconds;
  const auto limit = static_cast<double>(context.spec().bandwidth_bytes_per_second);
  return limit > 0 ? std::min(rate, limit) : rate;
}

}  // namespace

double memory_seconds(const Context& context) {
  const auto& trial = context.status.trial_dump;
  double bytes = 0;
  for (const api::VolumeStatus& volume : context.status.volumes) {
    if (volume.kind == to_string(api::TreeKind::kMemory))
      bytes += static_cast<double>(volume.bytes);
  }
  if (trial) bytes = static_cast<double>(trial->bytes);
  const double dump = trial ? trial->dump_seconds : bytes / kDumpRate;
  return dump + bytes / send_rate(context) + bytes / kRestoreRate;
}

double expected_downtime(const Context& context, double final_round_seconds) {
  return kStopAndStartSeconds + memory_seconds(context) + final_round_seconds;
}

}  // namespace transship::controller
