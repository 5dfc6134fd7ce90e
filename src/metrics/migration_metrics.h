// What happened to ContainerMigrations: containermigration_*. Counters and histograms have no label
// that names a migration; the gauges that do are there only while the migration is active.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "metrics/registry.h"

namespace transship::metrics {

class MigrationMetrics {
 public:
  explicit MigrationMetrics(Registry& registry);
  ~MigrationMetrics();

  // How many migrations there are in each phase now. A phase that was named once and is not named
  // any more counts 0.
  void count_by_phase(const std::map<std::string, int>& migrations);

  void phase_entered(std::string_view phase);
  void phase_left(std::string_view phase, double seconds);  // how long it was in it

  // The end, once for each migration. `result` is "Succeeded", "Failed" or "Cancelled"; `reason`
  // the reason of the condition Succeeded; `seconds` since its start.
  void finished(std::string_view result, std::string_view reason, double seconds);
  void downtime(double seconds);
  void rolled_back(std::string_view reason);
  void retried(std::string_view reason);

  // A container of the target's pod came into that state: "Running", "Failed", "ColdStart".
  void restored(std::string_view state);

  // `kind` is what the bytes are: "volume". `round` is "first", "later" or "final".
  void transferred(std::string_view kind, std::string_view round, int64_t bytes);

  // The gauges of one active migration; `ratio` is 0 to 1.
  void progress(const std::string& namespace_name, const std::string& name, double ratio,
                int64_t remaining_bytes, int64_t bytes_per_second);

  // Takes those gauges away; nothing happens where there are none.
  void forget(const std::string& namespace_name, const std::string& name);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace transship::metrics
