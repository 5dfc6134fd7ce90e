#include "runtime/start.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "runtime/claim.h"
#include "runtime/pod_network.h"
#include "runtime/restore_end.h"
#include "runtime/restored_container.h"
#include "runtime/sandbox_mark.h"

namespace transship::runtime {
namespace {

// One `start` of a container that was restored, under its claim's lock.
class ClaimedStart {
 public:
  ClaimedStart(const Call& call, RestoredContainer container, const PodClaim& pod,
               const Claim& claim)
      : call_(call), container_(std::move(container)), pod_(pod), claim_(claim) {}

  int run() {
    const auto state = pod_.state(container_.container);
    if (!state) return call_.fail(state.error().message);
    const bool ready = state->state == RestoreState::kRestored ||
                       (state->state == RestoreState::kColdStart && !container_.memory);
    if (!ready || state->id != container_.id) {
      return call_.fail("the container " + container_.container + " cannot be started: it is " +
                        std::string(to_string(state->state)));
    }
    if (!container_.memory) {
      const int status = start_created();
      if (status != 0) return status;
    } else {
      container_.started = true;
      const Status noted = write_restored(call_.settings, container_);
      if (!noted.ok()) return call_.fail(noted.error().message);
    }
    const Status resumed = resume_if_complete();
    if (!resumed.ok()) return call_.fail(resumed.error().message);
    return 0;
  }

 private:
  // From here until it runs it says Restoring: whoever finds that cannot know whether it has run.
  int start_created() const {
    const Status begun = set(container_.container, RestoreState::kRestoring, container_.id);
    if (!begun.ok()) return call_.fail(begun.error().message);
    const auto status = call_.runc.run(call_.words);
    if (status && *status == 0) {
      const Status kept = set(container_.container, RestoreState::kRunning, container_.id);
      return kept.ok() ? 0 : call_.fail(kept.error().message);
    }
    const std::string why =
        status ? "runc start ended with status " + std::to_string(*status) : status.error().message;
    (void)set(container_.container, RestoreState::kFailed, container_.id, why);
    return status ? *status : call_.fail(why);
  }

  struct Held {
    std::string container;
    std::string id;
  };

  // Those that are to go on; `complete`: no other one is waited for.
  Result<std::vector<Held>> held(bool& complete) const {
    std::vector<Held> all;
    complete = true;
    for (const auto& each : claim_.containers) {
      if (each.memory.empty()) continue;
      const auto state = pod_.state(each.name);
      if (!state) return state.error();
      if (state->state == RestoreState::kRunning || state->state == RestoreState::kColdStart) {
        continue;
      }
      const auto noted = find_restored(call_.settings, state->id);
      if (!noted) return noted.error();
      if (state->state == RestoreState::kRestored && noted->has_value() && (*noted)->started) {
        all.push_back({each.name, state->id});
      } else {
        complete = false;
      }
    }
    return all;
  }

  Status resume_if_complete() const {
    bool complete = false;
    const auto all = held(complete);
    if (!all) return all.error();
    if (!complete) return {};
    for (const auto& each : *all) {
      TRANSSHIP_TRY(set(each.container, RestoreState::kRestoring, each.id));
    }
    Status done = release();
    for (const auto& each : *all) {
      if (done.ok()) done = resume(each);
      if (done.ok()) {
        done = set(each.container, RestoreState::kRunning, each.id);
      } else {
        (void)set(each.container, RestoreState::kFailed, each.id, done.error().message);
      }
    }
    return done;
  }

  Status release() const {
    if (container_.network_namespace.empty()) return {};
    Status released = release_network(container_.network_namespace, claim_.old_address);
    if (released.ok() || released.error().code != ErrorCode::kPreconditionFailed) return released;
    // The application will notice by its own timeouts.
    write_log(call_.arguments, "warning", released.error().message);
    return {};
  }

  [[nodiscard]] Status resume(const Held& held) const {
    const auto status = call_.runc.run_aside({"resume", held.id});
    if (!status) return status.error();
    if (*status == 0) return {};
    return Error{ErrorCode::kInternal, "the container " + held.container +
                                           " was restored, but runc resume ended with status " +
                                           std::to_string(*status)};
  }

  [[nodiscard]] Status set(const std::string& container, RestoreState state, const std::string& id,
                           const std::string& message = "") const {
    return pod_.set_state(container, {state, message, id});
  }

  const Call& call_;
  RestoredContainer container_;
  const PodClaim& pod_;
  const Claim& claim_;
};

bool is_kill(const Arguments& arguments) {
  constexpr std::array<std::string_view, 3> kNames = {"9", "KILL", "SIGKILL"};
  return arguments.operands.size() > 1 &&
         std::find(kNames.begin(), kNames.end(), arguments.operands[1]) != kNames.end();
}

}  // namespace

int start(const Call& call) {
  const auto container = find_restored(call.settings, call.arguments.id());
  if (!container) return call.fail(container.error().message);
  if (!container->has_value()) return call.pass_on();
  const auto pod = PodClaim::open(call.settings.claims, (*container)->pod_uid);
  if (!pod) return call.fail(pod.error().message);
  const auto lock = pod->lock();
  if (!lock) return call.fail(lock.error().message);
  const auto claim = pod->read();
  if (!claim) return call.fail(claim.error().message);
  if (!claim->has_value()) return call.fail("the claim of this pod is gone");
  return ClaimedStart(call, **container, *pod, **claim).run();
}

int kill(const Call& call) {
  const auto container = find_restored(call.settings, call.arguments.id());
  if (!container || !container->has_value() || !is_kill(call.arguments)) return call.pass_on();
  const auto status = call.runc.run(call.words);
  if (!status) return call.fail(status.error().message);
  // The signal is there first, so the thaw lets nothing else happen.
  if (*status == 0) (void)call.runc.run_aside({"resume", call.arguments.id()});
  return *status;
}

int remove(const Call& call) {
  const auto container = find_restored(call.settings, call.arguments.id());
  const bool restored = container && container->has_value();
  if (!restored && !is_marked_sandbox(call.settings, call.arguments.id())) return call.pass_on();
  // What a restore has left that was killed, runc does not know.
  if (restored) discard_restore(call.settings, call.arguments.id());
  const auto status = call.runc.run(call.words);
  if (!status) return call.fail(status.error().message);
  if (*status != 0) return *status;
  unmark_sandbox(call.settings, call.arguments.id());
  (void)remove_restored(call.settings, call.arguments.id());
  return *status;
}

}  // namespace transship::runtime
