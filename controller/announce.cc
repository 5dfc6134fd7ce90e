#include "controller/announce.h"

#include <algorithm>

#include "base/log.h"
#include "controller/status.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;

Object reference(const api::Migration& migration) {
  return {{"apiVersion", "transship.dev/v1alpha1"},
          {"kind", "ContainerMigration"},
          {"namespace", migration.namespace_name},
          {"name", migration.name},
          {"uid", migration.uid},
          {"resourceVersion", migration.resource_version}};
}

std::string action_of(const std::string& type) {
  if (type == condition::kValidated) return "Validating";
  if (type == condition::kPrepared) return "Preparing";
  if (type == condition::kPreCopied) return "PreCopying";
  if (type == condition::kSourceStopped) return "StoppingSource";
  if (type == condition::kTransferred) return "Transferring";
  if (type == condition::kVerified) return "Verifying";
  if (type == condition::kCommitted) return "Committing";
  if (type == condition::kRestored) return "Restoring";
  return "Finishing";
}

}  // namespace

void EventsAndMetrics::tell_conditions(const api::Migration& before,
                                       const api::MigrationStatus& after) {
  const std::string who = before.namespace_name + "/" + before.name;
  for (const api::Condition& item : after.conditions) {
    const api::Condition* old = before.status.find(item.type);
    if (old != nullptr && old->status == item.status && old->reason == item.reason) continue;
    if (item.status == "Unknown" && item.reason == "NotReached") continue;
    const bool final_failure = item.type == condition::kSucceeded && item.status == "False";
    // Waiting is logged, not announced: only what has happened is an event.
    log::info("condition", {{"migration", who},
                            {"type", item.type},
                            {"status", item.status},
                            {"reason", item.reason},
                            {"message", item.message}});
    // It asks for somebody's decision (spec.onRestoreFailure).
    const bool asks = item.type == condition::kRestored && item.reason == "RestoreFailed";
    if (item.status == "True" || final_failure || asks) {
      events_.record(reference(before), item.status == "True" ? "Normal" : "Warning", item.reason,
                     action_of(item.type), item.type + ": " + item.message);
    }
  }
  if (after.rollback && !before.status.rollback) {
    events_.record(reference(before), "Warning", after.rollback->reason, "RollingBack",
                   "rolling back: " + after.rollback->message);
    metrics_.rolled_back(after.rollback->reason);
  }
  if (after.attempts > before.status.attempts && before.status.rollback)
    metrics_.retried(before.status.rollback->reason);
}

// Without rounds (an archive) all of it went after the stop.
void EventsAndMetrics::count_rounds(const api::MigrationStatus& status) {
  if (status.rounds.empty())
    return metrics_.transferred("volume", "final", status.progress.transferred_bytes);
  for (size_t i = 0; i < status.rounds.size(); ++i) {
    const char* round = i + 1 == status.rounds.size() ? "final" : i == 0 ? "first" : "later";
    metrics_.transferred("volume", round, status.rounds[i].bytes);
  }
}

void EventsAndMetrics::count(const api::Migration& before, const api::MigrationStatus& after,
                             WallTime now) {
  if (after.phase != before.status.phase) {
    if (!before.status.phase_times.empty()) {
      metrics_.phase_left(before.status.phase,
                          seconds_since(before.status.phase_times.back().second, now));
    }
    metrics_.phase_entered(after.phase);
  }
  for (const api::ContainerStatus& container : after.containers) {
    const auto old = std::find_if(before.status.containers.begin(), before.status.containers.end(),
                                  [&](const auto& each) { return each.name == container.name; });
    const bool changed = old == before.status.containers.end() || old->restore != container.restore;
    const std::string& state = container.restore;
    if (changed && (state == "Running" || state == "Failed" || state == "ColdStart"))
      metrics_.restored(state);
  }
  if (after.is_true(condition::kTransferred) && !before.status.is_true(condition::kTransferred)) {
    count_rounds(after);
  }
  if (after.is_true(condition::kRestored) && !before.status.is_true(condition::kRestored) &&
      after.downtime_seconds) {
    metrics_.downtime(*after.downtime_seconds);
  }
  if (!is_finished(after)) {
    metrics_.progress(
        before.namespace_name, before.name, after.progress.percent / 100.0,
        std::max<int64_t>(0, after.progress.total_bytes - after.progress.transferred_bytes),
        after.progress.bytes_per_second);
  } else if (!is_finished(before.status)) {
    metrics_.finished(after.phase, after.find(condition::kSucceeded)->reason,
                      after.total_seconds.value_or(0));
    metrics_.forget(before.namespace_name, before.name);
  }
}

void EventsAndMetrics::count_phases(const std::string& key, const std::string& phase) {
  MutexLock lock(mutex_);
  if (phase.empty())
    phases_.erase(key);
  else
    phases_[key] = phase;
  std::map<std::string, int> counts;
  for (const auto& [name, in] : phases_) ++counts[in];
  metrics_.count_by_phase(counts);
}

void EventsAndMetrics::changed(const api::Migration& before, const api::MigrationStatus& after,
                               WallTime now) {
  tell_conditions(before, after);
  count(before, after, now);
  count_phases(before.namespace_name + "/" + before.name, after.phase);
}

void EventsAndMetrics::gone(const std::string& namespace_name, const std::string& name) {
  metrics_.forget(namespace_name, name);
  count_phases(namespace_name + "/" + name, "");
}

}  // namespace transship::controller
