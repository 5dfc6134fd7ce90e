#include "controller/decide.h"

#include <algorithm>
#include <array>

#include "controller/names.h"
#include "controller/steps.h"

namespace transship::controller {

namespace condition = api::condition;

bool Context::places_empty_dirs() const {
  return std::any_of(status.volumes.begin(), status.volumes.end(),
                     [](const api::VolumeStatus& volume) {
                       return volume.kind == "EmptyDir" && volume.plan == api::VolumePlan::kCopy;
                     });
}

Decision Context::wait(std::string_view type, std::string_view reason, std::string_view message,
                       std::chrono::milliseconds delay) {
  await(status, migration().generation, type, reason, message, now);
  return again(delay);
}

void Context::done(std::string_view type, std::string_view reason, std::string_view message) {
  set_condition(status, migration().generation, type, "True", reason, message, now);
}

Decision Context::fail(std::string_view reason, std::string_view message) {
  await(status, migration().generation, current_condition(status), reason, message, now);
  begin_rollback(status, reason, message, now);
  return again();
}

const char* current_condition(const api::MigrationStatus& status) {
  constexpr std::array kOrder = {
      condition::kValidated,     condition::kPrepared,    condition::kPreCopied,
      condition::kSourceStopped, condition::kTransferred, condition::kVerified,
      condition::kCommitted,     condition::kRestored,    condition::kSucceeded};
  // The one that failed keeps the reason; how far the way back is, the last one says.
  if (status.rollback) return condition::kSucceeded;
  for (const char* type : kOrder) {
    if (!status.is_true(type)) return type;
  }
  return condition::kSucceeded;
}

namespace {

// What a user's word or a deadline ends before the commit; afterwards neither can.
void interrupt(Context& context) {
  api::MigrationStatus& status = context.status;
  if (status.attempts == 0 || status.rollback || is_committed(status)) return;
  if (context.migration().deleting) {
    begin_rollback(status, "Deleted", "the ContainerMigration was deleted before its commit",
                   context.now);
  } else if (context.spec().cancel) {
    begin_rollback(status, "Cancelled", "cancelled by spec.cancel", context.now);
  } else if (context.spec().active_deadline_seconds &&
             seconds_since(status.start_time, context.now) >
                 static_cast<double>(*context.spec().active_deadline_seconds)) {
    begin_rollback(status, "DeadlineExceeded",
                   "not committed within activeDeadlineSeconds (" +
                       std::to_string(*context.spec().active_deadline_seconds) + ")",
                   context.now);
  }
}

Decision begin(Context& context) {
  const api::Migration& migration = context.migration();
  if (context.spec().suspend) return {context.status, {}, std::nullopt};
  const auto& finalizers = migration.finalizers;
  if (std::find(finalizers.begin(), finalizers.end(), kFinalizer) == finalizers.end()) {
    Object list = finalizers;
    list.push_back(kFinalizer);
    return context.act(Patch{
        Kind::kMigration,
        migration.namespace_name,
        migration.name,
        {{"metadata", {{"finalizers", list}, {"resourceVersion", migration.resource_version}}}}});
  }
  begin_attempt(context.status, migration.generation, context.now);
  return context.again();
}

Decision step(Context& context) {
  if (is_finished(context.status)) return after_the_end(context);
  if (context.status.attempts == 0) {
    const bool unwanted = context.migration().deleting || context.spec().cancel;
    if (!unwanted) return begin(context);
    set_condition(context.status, context.migration().generation, condition::kSucceeded, "False",
                  "Cancelled", "cancelled before it began", context.now);
    context.status.completion_time = format_micros(context.now);
    return context.again();
  }
  interrupt(context);
  if (context.status.rollback) return roll_back(context);
  using StepFunction = Step (*)(Context&);
  constexpr std::array<std::pair<const char*, StepFunction>, 8> kSteps = {
      {{condition::kValidated, validate},
       {condition::kPrepared, prepare},
       {condition::kPreCopied, pre_copy},
       {condition::kSourceStopped, stop_source},
       {condition::kTransferred, transfer},
       {condition::kVerified, verify},
       {condition::kCommitted, commit},
       {condition::kRestored, restore}}};
  for (const auto& [type, function] : kSteps) {
    if (context.status.is_true(type)) continue;
    if (Step decision = function(context)) return *std::move(decision);
  }
  return clean_up_and_succeed(context);
}

}  // namespace

Decision decide(const Observed& observed, const Settings& settings, WallTime now) {
  Context context{observed, settings, now, observed.migration.status};
  Decision decision = step(context);
  // The finalizer comes before anything is told.
  if (decision.status.attempts == 0 && std::holds_alternative<Patch>(decision.action)) {
    return decision;
  }
  decision.status.observed_generation = observed.migration.generation;
  derive_phase(decision.status, observed.migration.spec, now);
  return decision;
}

std::optional<api::MigrationStatus> decide_failure(const Observed& observed,
                                                   const Decision& decision, const Error& error,
                                                   WallTime now) {
  const bool permanent = error.code == ErrorCode::kInvalid || error.code == ErrorCode::kForbidden ||
                         error.code == ErrorCode::kAlreadyExists;
  if (!permanent || is_finished(decision.status)) return std::nullopt;
  api::MigrationStatus status = decision.status;
  const std::string reason = error.code == ErrorCode::kAlreadyExists ? "NameConflict"
                             : error.code == ErrorCode::kForbidden   ? "Forbidden"
                                                                     : "Refused";
  await(status, observed.migration.generation, current_condition(status), reason, error.message,
        now);
  begin_rollback(status, reason, error.message, now);
  derive_phase(status, observed.migration.spec, now);
  return status;
}

}  // namespace transship::controller
