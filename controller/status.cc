#include "controller/status.h"

#include <algorithm>
#include <array>

namespace transship::controller {
namespace {

namespace condition = api::condition;

constexpr size_t kMessageLimit = 2048;  // bytes; what people still read

constexpr std::array kSteps = {
    condition::kValidated,     condition::kPrepared,    condition::kPreCopied,
    condition::kSourceStopped, condition::kTransferred, condition::kVerified,
    condition::kCommitted,     condition::kRestored,    condition::kSucceeded};

std::string phase_of(const api::MigrationStatus& status, const api::MigrationSpec& spec) {
  if (const api::Condition* done = status.find(condition::kSucceeded)) {
    if (done->status == "True") return "Succeeded";
    if (done->status == "False") return done->reason == "Cancelled" ? "Cancelled" : "Failed";
  }
  if (status.rollback) return "RollingBack";
  if (status.is_true(condition::kRestored)) return "CleaningUp";
  if (status.is_true(condition::kCommitted)) return "Restoring";
  if (status.is_true(condition::kVerified)) return "Committing";
  if (status.is_true(condition::kTransferred)) return "Verifying";
  if (status.is_true(condition::kSourceStopped)) return "Transferring";
  if (!status.stop_requested_time.empty()) return "Stopping";
  if (spec.suspend) return "Suspended";
  if (status.is_true(condition::kPreCopied)) return "Stopping";
  if (status.is_true(condition::kPrepared))
    return spec.strategy == api::StrategyType::kPreCopy ? "PreCopying" : "Stopping";
  if (status.is_true(condition::kValidated)) return "Preparing";
  return status.attempts > 0 ? "Validating" : "Pending";
}

}  // namespace

void set_condition(api::MigrationStatus& status, int64_t generation, std::string_view type,
                   std::string_view value, std::string_view reason, std::string_view message,
                   WallTime now) {
  auto found = std::find_if(status.conditions.begin(), status.conditions.end(),
                            [&](const api::Condition& item) { return item.type == type; });
  if (found == status.conditions.end()) {
    status.conditions.push_back({.type = std::string(type),
                                 .status = {},
                                 .reason = {},
                                 .message = {},
                                 .last_transition_time = {}});
    found = status.conditions.end() - 1;
  }
  if (found->status != value) found->last_transition_time = format_seconds(now);
  found->status = value;
  found->reason = reason;
  found->message = message.substr(0, kMessageLimit);
  found->observed_generation = generation;
}

void await(api::MigrationStatus& status, int64_t generation, std::string_view type,
           std::string_view reason, std::string_view message, WallTime now) {
  set_condition(status, generation, type, type == condition::kSucceeded ? "Unknown" : "False",
                reason, message, now);
}

void set_check(api::MigrationStatus& status, api::PreflightCheck check) {
  std::erase_if(status.preflight,
                [&](const api::PreflightCheck& old) { return old.check == check.check; });
  status.preflight.push_back(std::move(check));
}

void begin_rollback(api::MigrationStatus& status, std::string_view reason, std::string_view message,
                    WallTime now) {
  if (status.rollback || is_committed(status)) return;
  status.rollback = api::Rollback{.reason = std::string(reason),
                                  .message = std::string(message.substr(0, kMessageLimit)),
                                  .time = format_micros(now)};
}

bool may_have_stopped(const api::MigrationStatus& status) {
  const bool in_trial = status.notes.count(kTrialDump) != 0 && !status.trial_dump;
  return in_trial || !status.stop_requested_time.empty();
}

bool cleans_up(const api::MigrationStatus& status, const api::MigrationSpec& spec) {
  const bool nothing_to_bring_back = !may_have_stopped(status);
  return is_finished(status) || status.is_true(api::condition::kRestored) || spec.dry_run ||
         (status.rollback && (nothing_to_bring_back || status.notes.count("sourceIsBack") != 0));
}

bool is_finished(const api::MigrationStatus& status) {
  const api::Condition* done = status.find(condition::kSucceeded);
  return done != nullptr && done->status != "Unknown";
}

bool is_committed(const api::MigrationStatus& status) {
  return status.is_true(condition::kCommitted);
}

api::PodPlace restored_pod(const api::MigrationStatus& status) {
  if (!status.rollback) return status.target;
  const auto note = [&](const char* key) {
    const auto found = status.notes.find(key);
    return found == status.notes.end() ? std::string() : found->second;
  };
  return {status.source.node, note("rolledBackPodName"), note("rolledBackPodUID")};
}

void set_restored_pod(api::MigrationStatus& status, const std::string& name,
                      const std::string& uid) {
  if (status.rollback) {
    status.notes["rolledBackPodName"] = name;
    status.notes["rolledBackPodUID"] = uid;
  } else {
    status.target.pod_name = name;
    status.target.pod_uid = uid;
  }
}

void derive_phase(api::MigrationStatus& status, const api::MigrationSpec& spec, WallTime now) {
  const std::string phase = phase_of(status, spec);
  if (phase == status.phase) return;
  status.phase = phase;
  constexpr size_t kMostTimes = 64;  // a migration that is tried again and again keeps the newest
  status.phase_times.emplace_back(phase, format_micros(now));
  if (status.phase_times.size() > kMostTimes) status.phase_times.erase(status.phase_times.begin());
}

void begin_attempt(api::MigrationStatus& status, int64_t generation, WallTime now) {
  api::MigrationStatus next;
  next.start_time = status.start_time.empty() ? format_micros(now) : status.start_time;
  next.phase = status.phase;
  next.phase_times = status.phase_times;
  next.observed_generation = generation;
  next.epoch = status.epoch + 1;
  next.attempts = status.attempts + 1;
  for (const char* step : kSteps) {
    set_condition(next, generation, step, "Unknown", "NotReached", "", now);
    // A condition that was Unknown before keeps its time.
    if (const api::Condition* last = status.find(step);
        last != nullptr && last->status == "Unknown") {
      next.conditions.back().last_transition_time = last->last_transition_time;
    }
  }
  status = std::move(next);
}

}  // namespace transship::controller
