// Copying while the pod runs.
#include "controller/names.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::TaskKind;

constexpr const char* kPass = "preCopyPass";

int pass_of(const Context& context) {
  const auto note = context.status.notes.find(kPass);
  return note == context.status.notes.end() ? 1 : std::stoi(note->second);
}

const char* why_not(const Context& context) {
  if (context.spec().strategy == api::StrategyType::kStopAndCopy)
    return "strategy.type is StopAndCopy: everything is copied once the pod is stopped";
  if (context.spec().mode == api::TransferMode::kArchive)
    return "transfer.mode is Archive: everything is copied once the pod is stopped";
  if (task_request(context, MoverRole::kSender).volumes.empty()) return "no volume is copied";
  return nullptr;
}

api::TaskRequest request_of(const Context& context) {
  api::TaskRequest request = transfer_request(context, MoverRole::kSender);
  request.pass = pass_of(context);
  request.max_rounds = context.spec().max_rounds;
  if (const auto& most = context.spec().max_downtime_seconds) {
    const double left = std::max(0.0, static_cast<double>(*most) - expected_downtime(context, 0));
    request.max_final_round_milliseconds = static_cast<int64_t>(left * 1000);
  }
  return request;
}

std::string seconds_text(double seconds) {
  std::string text = std::to_string(seconds);
  return text.substr(0, text.find('.') + 2) + " s";
}

Decision judge(Context& context) {
  const auto& most = context.spec().max_downtime_seconds;
  const double expected = *context.status.estimated_downtime_seconds;
  const std::string rounds = std::to_string(context.status.rounds.size()) + " rounds";
  const std::string estimate = "the downtime is expected to be " + seconds_text(expected);
  if (!most || expected <= static_cast<double>(*most)) {
    context.done(condition::kPreCopied, "PreCopied", rounds + "; " + estimate);
    return context.again();
  }
  const std::string problem = rounds + ", and " + estimate + ", more than maxDowntimeSeconds (" +
                              std::to_string(*most) + ")";
  if (context.spec().on_budget_exceeded == api::OverBudget::kAbort) {
    return context.fail("DowntimeBudgetExceeded",
                        problem +
                            ": the pod writes too much to be followed; try again when it "
                            "writes less, raise transfer.bandwidthLimitBytesPerSecond or "
                            "strategy.maxDowntimeSeconds");
  }
  context.done(condition::kPreCopied, "DowntimeBudgetExceeded",
               problem + "; going on, as strategy.onBudgetExceeded says");
  return context.again();
}

void show_estimate(Context& context, const api::TaskState& state) {
  if (state.rounds.empty()) return;
  context.status.estimated_downtime_seconds =
      expected_downtime(context, static_cast<double>(state.estimated_final_milliseconds) / 1000);
}

// By spec.suspend, before the rounds or after them.
Decision held(Context& context, const api::TaskState* rounds) {
  if (rounds != nullptr) {
    show_transfer(context, TaskKind::kPreCopy, *rounds);
    show_estimate(context, *rounds);
    // What is written meanwhile is copied by another pass, before the stop.
    if (rounds->pass == pass_of(context))
      context.status.notes[kPass] = std::to_string(rounds->pass + 1);
  }
  return context.wait(condition::kPreCopied, "Suspended", "spec.suspend holds the migration",
                      1000ms);
}

}  // namespace

bool copies_while_running(const Context& context) { return why_not(context) == nullptr; }

Step pre_copy(Context& context) {
  if (context.spec().dry_run) return clean_up_and_succeed(context);
  // A migration that a controller without this step began.
  if (!context.status.stop_requested_time.empty()) return std::nullopt;
  if (const char* why = why_not(context)) {
    context.done(condition::kPreCopied, "NotNeeded", why);
    return std::nullopt;
  }
  if (Step step = source_runs(context)) return step;
  if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
  const api::TaskState* state =
      task_state(context.observed, MoverRole::kSender, TaskKind::kPreCopy);
  const bool rests = state != nullptr && state->phase == api::TaskPhase::kSucceeded;
  if (context.spec().suspend && (state == nullptr || rests)) return held(context, state);
  if (state != nullptr) show_estimate(context, *state);
  Step step = sending(context, TaskKind::kPreCopy, request_of(context));
  return step ? step : judge(context);
}

}  // namespace transship::controller
