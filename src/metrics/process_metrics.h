// process_*: what /proc/self says of this process, under the names that all Prometheus clients use.
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
#pragma once

#include <memory>

namespace prometheus {
class Registry;
}

namespace transship::metrics {

// Adds the families to `families`; `read` sets them anew. What /proc does not tell stays as it was.
class ProcessMetrics {
 public:
  explicit ProcessMetrics(prometheus::Registry& families);
  ~ProcessMetrics();

  void read();  // one caller at a time

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace transship::metrics
