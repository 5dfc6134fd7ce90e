// A dump of the pod's memory beforehand, which is thrown away: whether it can be made, and how long
// it takes.
#include <algorithm>

#include "controller/preflight.h"
#include "controller/status.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::TaskKind;

constexpr int kTrialSeconds = 120;  // CRIU may hang for ever
constexpr const char* kCheck = "TrialDump";

std::string seconds_text(double seconds) {
  const std::string text = std::to_string(seconds);
  return text.substr(0, text.find('.') + 3) + " s";
}

void tell(Context& context, const char* result, const std::string& message) {
  auto& checks = context.status.preflight;
  std::erase_if(checks, [](const api::PreflightCheck& check) { return check.check == kCheck; });
  checks.push_back({kCheck, result, message});
}

void record(Context& context, const api::TaskState& state) {
  api::TrialDump& trial = context.status.trial_dump.emplace();
  trial.frozen_seconds = static_cast<double>(state.frozen_milliseconds) / 1000;
  trial.dump_seconds = static_cast<double>(state.dump_milliseconds) / 1000;
  for (const api::VolumeReport& tree : state.volumes) trial.bytes += tree.bytes;
  context.status.estimated_downtime_seconds = expected_downtime(context, 0);
  const std::string found = std::to_string(trial.bytes) + " bytes of memory were dumped, and the " +
                            "pod was frozen for " + seconds_text(trial.frozen_seconds) + "; " +
                            "the downtime is expected to be " +
                            seconds_text(*context.status.estimated_downtime_seconds) +
                            ", without what the volumes take";
  // The copy has to be verified while the pod is frozen.
  const auto budget = freeze_budget(*context.observed.source_pod);
  const double frozen = memory_seconds(context);
  if (!budget || frozen < static_cast<double>(budget->count()))
    return tell(context, "Passed", found);
  tell(context, "Warning",
       found + "; its liveness probes leave " + std::to_string(budget->count()) +
           " s until the copy is verified: give them a longer periodSeconds or "
           "a higher failureThreshold");
}

}  // namespace

Step trial_dump(Context& context) {
  if (!context.spec().trial_dump || context.status.trial_dump) return std::nullopt;
  if (Step step = source_runs(context)) return step;
  // Before it is frozen: whoever goes on after a failure has to see to it that it runs.
  if (context.status.notes.count(kTrialDump) == 0) {
    context.status.notes[kTrialDump] = format_micros(context.now);
    return context.again();
  }
  api::TaskRequest request = task_request(context, MoverRole::kSender);
  request.volumes.clear();
  request.deadline_seconds = kTrialSeconds;
  request.freeze_budget_milliseconds = freeze_budget_of_mover(*context.observed.source_pod);
  const api::TaskState* state =
      task_state(context.observed, MoverRole::kSender, TaskKind::kTrialDump);
  if (state != nullptr && state->phase == api::TaskPhase::kFailed) {
    const std::string why =
        "the trial dump failed, and the pod goes on as it was: " + state->message;
    tell(context, "Failed", why);
    return context.fail("TrialDumpFailed", why);
  }
  if (Step step = task(context, MoverRole::kSender, TaskKind::kTrialDump, request, kSoon))
    return step;
  record(context, *state);
  return std::nullopt;
}

}  // namespace transship::controller
