// Registry: all metrics of one process, and their text for Prometheus.
//
//   metrics::Registry registry;
//   metrics::MigrationMetrics migrations(registry);
//   migrations.downtime(3.2);
//   registry.text();
//
// The classes that take a Registry (ControllerMetrics, WorkQueueMetrics, ..., MigrationMetrics)
// name what happened; which metric that is, is their affair. All are safe from any thread, and must
// not outlive the Registry. process_* metrics are in every Registry. prometheus-cpp is named here
// but included by this room's .cc files only.
// https://prometheus.io/docs/instrumenting/exposition_formats/
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace prometheus {
class Registry;
}

namespace transship::metrics {

class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Everything in the text format, version 0.0.4. Runs the hooks of before_scrape first, one scrape
  // at a time.
  [[nodiscard]] std::string text();

  // `hook` is run at each scrape, to set gauges that are worked out then. It must not call text().
  void before_scrape(std::function<void()> hook);

  // For this room: where families are registered.
  [[nodiscard]] prometheus::Registry& families();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace transship::metrics
