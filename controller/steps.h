// The steps of a migration, each a pure function of the same context; decide.cc calls them in turn.
// A step returns a Decision when there is something to do or to wait for, and nullopt when it is
// done.
#pragma once

#include <optional>
#include <string>

#include "controller/decide.h"
#include "controller/status.h"

namespace transship::controller {

using namespace std::chrono_literals;

// While users wait for a stopped pod, and while nobody does.
inline constexpr auto kSoon = 20ms;
inline constexpr auto kLater = 500ms;

// Among status.notes: the source pod's address, which its memory knows.
inline constexpr const char* kSourcePodIp = "sourcePodIP";

struct Context {
  const Observed& observed;
  const Settings& settings;
  WallTime now;
  api::MigrationStatus status;  // the one that is being made

  [[nodiscard]] const api::Migration& migration() const { return observed.migration; }
  [[nodiscard]] const api::MigrationSpec& spec() const { return observed.migration.spec; }
  [[nodiscard]] bool graceful() const { return spec().stop == api::StopMode::kGraceful; }
  [[nodiscard]] bool owned() const { return !status.owner.kind.empty(); }
  // Some emptyDir is copied.
  [[nodiscard]] bool places_empty_dirs() const;
  // Layers go along, and perhaps memory: the pod to restore needs transship-runtime.
  [[nodiscard]] bool restores_containers() const { return spec().layer; }
  // transship-runtime holds a pod back by itself until its emptyDirs are there.
  [[nodiscard]] bool needs_gate() const { return places_empty_dirs() && !restores_containers(); }

  Decision act(Action action, std::chrono::milliseconds again = 0ms) {
    return {status, std::move(action), again};
  }
  Decision again(std::chrono::milliseconds delay = 0ms) { return {status, {}, delay}; }
  Decision wait(std::string_view type, std::string_view reason, std::string_view message,
                std::chrono::milliseconds delay);
  void done(std::string_view type, std::string_view reason, std::string_view message);
  Decision fail(std::string_view reason, std::string_view message);  // begins the rollback
};

using Step = std::optional<Decision>;

// The condition that the migration is working on: the first that is not True; Succeeded in a
// rollback.
const char* current_condition(const api::MigrationStatus& status);

Step validate(Context& context);
Step prepare(Context& context);
Step pre_copy(Context& context);
Step stop_source(Context& context);
Step transfer(Context& context);
Step verify(Context& context);
Step commit(Context& context);
Step restore(Context& context);
Decision roll_back(Context& context);
Decision clean_up_and_succeed(Context& context);
Decision after_the_end(Context& context);

// Shared by several steps.

// Both movers made where needed and answering; a lost one fails the attempt before the commit (and
// before a rollback has begun), and is made anew, in the next epoch, after it.
struct Needs {
  bool sender = false;
  bool receiver = false;
};
Step movers(Context& context, Needs needs);

api::TaskRequest task_request(const Context& context, api::MoverRole role);

// The same, with what both ends of the transfer need to know.
api::TaskRequest transfer_request(const Context& context, api::MoverRole role);

// Progress and rounds of a precopy or send, into the status.
void show_transfer(Context& context, api::TaskKind kind, const api::TaskState& state);

// One of the sender's tasks, precopy or send, with the receiver at work at the other end and all
// of it shown in status; nullopt once it has succeeded.
Step sending(Context& context, api::TaskKind kind, const api::TaskRequest& request);

// Of preflight.trialDump: the memory dumped once, and thrown away.
Step trial_dump(Context& context);

// What is to be expected of a pod that is stopped now: what its memory takes, and all of it.
double memory_seconds(const Context& context);
double expected_downtime(const Context& context, double final_round_seconds);

// For the order to freeze: what the liveness probes leave, less than what the controller goes by;
// 0: no end.
int64_t freeze_budget_of_mover(const Object& pod);

// Whether volumes are copied in rounds before the pod is stopped.
bool copies_while_running(const Context& context);

// Nothing to say while the pod is there and nobody else has ended it; before the stop.
Step source_runs(Context& context);

// Waits in Prepared, and fails the attempt after ten minutes of it.
Decision await_prepared(Context& context, std::string_view reason, const std::string& message,
                        std::chrono::milliseconds delay = 100ms);

// Whether the pod's images on the target are those that it runs from (controller/images.cc), where
// its containers are restored; nullopt once that is known, before the reservation pod goes.
Step compare_images(Context& context);

// A task of a mover that answers: nullopt once it has succeeded. A failed task fails the attempt
// before the commit, and is tried again after it and in a rollback.
Step task(Context& context, api::MoverRole role, api::TaskKind kind,
          const api::TaskRequest& request, std::chrono::milliseconds poll);
const api::TaskState* task_state(const Observed& observed, api::MoverRole role, api::TaskKind kind);

// Of a frozen pod: fails the attempt before a liveness probe has the kubelet kill it.
Step within_freeze_budget(Context& context);

// The hold on the owner's replacement: set in status, and seen to be in force by the API server.
Step hold(Context& context);

// The proof that the source pod cannot run any more, and its object out of the way. Only called
// where the pod has to end: after a graceful stop, or after the commit.
Step source_is_dead(Context& context);
// The same of a frozen pod, after the commit: ended and killed, without a word of the kubelet's.
Step frozen_source_is_dead(Context& context);
Step remove_source_pod(Context& context);

// The pod brought up on one of the two nodes, with the volumes that are there.
struct Destination {
  std::string node;
  api::MoverRole placed_by;
  bool swap_claims;  // false in a rollback: the claims were never touched
};
Step bring_up(Context& context, const Destination& destination);

// Everything that the attempt made, taken away; `failed` discards what was copied.
Step clean_up(Context& context, bool failed);

}  // namespace transship::controller
