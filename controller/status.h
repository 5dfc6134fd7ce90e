// Changes of a migration's status, each in one place: conditions, phase, rollback, attempts.
#pragma once

#include <string>
#include <string_view>

#include "api/migration.h"
#include "base/time.h"

namespace transship::controller {

// Sets a condition; lastTransitionTime moves only when its status changes (metav1.Condition).
void set_condition(api::MigrationStatus& status, int64_t generation, std::string_view type,
                   std::string_view value, std::string_view reason, std::string_view message,
                   WallTime now);

// The condition is False (Succeeded: Unknown, since False would be the end) with this reason while
// something is awaited; message says what.
void await(api::MigrationStatus& status, int64_t generation, std::string_view type,
           std::string_view reason, std::string_view message, WallTime now);

// The finding of preflight under the name of its check, in place of an earlier one.
void set_check(api::MigrationStatus& status, api::PreflightCheck check);

// Begins the rollback, unless one has begun or the migration is committed. Reasons are stable,
// CamelCase.
void begin_rollback(api::MigrationStatus& status, std::string_view reason, std::string_view message,
                    WallTime now);

// Succeeded is True or False: nothing more happens but cleaning up.
bool is_finished(const api::MigrationStatus& status);
bool is_committed(const api::MigrationStatus& status);
// Among status.notes: a trial dump has begun.
inline constexpr const char* kTrialDump = "trialDump";

// Whether the attempt may have stopped or frozen the pod, so that it has to be brought back.
bool may_have_stopped(const api::MigrationStatus& status);
// Whether what the attempt made is being taken away, so that all of it has to be known.
bool cleans_up(const api::MigrationStatus& status, const api::MigrationSpec& spec);

// The pod that was brought up: on the target, or in a rollback on the source. Empty names: none
// yet.
api::PodPlace restored_pod(const api::MigrationStatus& status);
void set_restored_pod(api::MigrationStatus& status, const std::string& name,
                      const std::string& uid);

// The phase that people see, from the conditions alone; a new one is added to phase_times.
void derive_phase(api::MigrationStatus& status, const api::MigrationSpec& spec, WallTime now);

// Starts attempt n+1 (also the first): forgets all that belonged to the last one but what it left
// standing (epoch, start time).
void begin_attempt(api::MigrationStatus& status, int64_t generation, WallTime now);

}  // namespace transship::controller
