// EventsAndMetrics: a Kubernetes Event and a metric at each step, from the difference of two
// statuses.
#pragma once

#include <map>
#include <string>

#include "base/mutex.h"
#include "controller/reconciler.h"
#include "kube/events.h"
#include "metrics/migration_metrics.h"

namespace transship::controller {

class EventsAndMetrics : public Announcer {
 public:
  EventsAndMetrics(kube::EventRecorder& events, metrics::MigrationMetrics& metrics)
      : events_(events), metrics_(metrics) {}

  void changed(const api::Migration& before, const api::MigrationStatus& after,
               WallTime now) override;
  void gone(const std::string& namespace_name, const std::string& name) override;

 private:
  void tell_conditions(const api::Migration& before, const api::MigrationStatus& after);
  void count_rounds(const api::MigrationStatus& status);
  void count(const api::Migration& before, const api::MigrationStatus& after, WallTime now);
  void count_phases(const std::string& key, const std::string& phase);

  kube::EventRecorder& events_;
  metrics::MigrationMetrics& metrics_;
  Mutex mutex_;
  std::map<std::string, std::string> phases_ GUARDED_BY(mutex_);  // namespace/name -> phase
};

}  // namespace transship::controller
