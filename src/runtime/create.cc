#include "runtime/create.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "runtime/bundle.h"
#include "runtime/claim.h"
#include "runtime/claim_text.h"
#include "runtime/layer.h"
#include "runtime/memory_restore.h"
#include "runtime/permit.h"
#include "runtime/pod_network.h"
#include "runtime/restore_end.h"
#include "runtime/restored_container.h"
#include "runtime/sandbox_mark.h"
#include "runtime/shared_memory.h"

namespace transship::runtime {
namespace {

constexpr std::chrono::seconds kVolumesTimeout{100};
constexpr std::chrono::milliseconds kPoll{5};

// One `create` of a container that its pod's claim names, under the claim's lock.
class ClaimedCreate {
 public:
  ClaimedCreate(const Call& call, const Bundle& bundle, const PodClaim& pod, const Claim& claim,
                const ClaimedContainer& container)
      : call_(call),
        bundle_(bundle),
        pod_(pod),
        claim_(claim),
        container_(container),
        permit_(pod, container.name, call.arguments.id()) {}

  int run() {
    const auto state = pod_.state(container_.name);
    if (!state) return refuse(state.error().message);
    switch (state->state) {
      case RestoreState::kRunning:
        return call_.pass_on();
      case RestoreState::kFailed:
        return refuse(state->message);
      case RestoreState::kRestoring:
        return after_interruption(state->id);
      case RestoreState::kPending:
      case RestoreState::kRestored:
      case RestoreState::kColdStart:
        break;
    }
    // One that was restored and never started: not one of its instructions has run.
    if (state->state == RestoreState::kRestored) discard(state->id);
    return state->state == RestoreState::kColdStart ? start_cold(*state) : restore();
  }

 private:
  int refuse(const std::string& why) const {
    return call_.fail("the container " + container_.name +
                      " is not started without what was moved: " + why +
                      "; see the ContainerMigration");
  }

  int failed(const std::string& why) const {
    const Status kept =
        pod_.set_state(container_.name, {RestoreState::kFailed, why, call_.arguments.id()});
    return refuse(kept.ok() ? why : why + "; " + kept.error().message);
  }

  // Whoever tried is dead: the claim's lock is ours. With the permit not taken, what is left of it
  // has not run, and cannot: there is nobody to tell it that it may.
  int after_interruption(const std::string& id) const {
    const bool other = is_plain_name(id) && id != call_.arguments.id();
    const auto untouched = other ? Permit(pod_, container_.name, id).take()
                                 : Result<std::optional<bool>>(std::nullopt);
    discard(id);
    if (!untouched) return failed(untouched.error().message);
    if (!untouched->has_value()) {
      return failed("an earlier try was interrupted, so it is unknown how far it came");
    }
    first_ = **untouched;
    return restore();
  }

  // What is left of an earlier try, also where whoever made it was killed.
  void discard(const std::string& id) const {
    if (id.empty() || !is_plain_name(id)) return;
    discard_restore(call_.settings, id);
    (void)call_.runc.run_aside({"kill", id, "KILL"});
    (void)call_.runc.run_aside({"resume", id});
    (void)call_.runc.run_aside({"delete", "--force", id});
    (void)remove_restored(call_.settings, id);
  }

  [[nodiscard]] Status note(bool memory) const {
    return write_restored(call_.settings, {.id = call_.arguments.id(),
                                           .pod_uid = bundle_.pod_uid,
                                           .container = container_.name,
                                           .network_namespace = bundle_.network_namespace,
                                           .memory = memory,
                                           .started = false});
  }

  int start_cold(ContainerState state) const {
    state.id = call_.arguments.id();
    Status ready = pod_.set_state(container_.name, state);
    if (ready.ok()) ready = note(/*memory=*/false);
    if (ready.ok() && !container_.layer.empty()) {
      ready = apply_layer(container_.layer, bundle_.rootfs);
    }
    if (!ready.ok()) return refuse(ready.error().message);
    return call_.pass_on();
  }

  int restore() const {
    if (!container_.memory.empty()) {
      const Status granted = permit_.grant(first_);
      if (!granted.ok()) return refuse(granted.error().message);
    }
    const ContainerState under_way{RestoreState::kRestoring, "", call_.arguments.id()};
    const Status begun = pod_.set_state(container_.name, under_way);
    if (!begun.ok()) return refuse(begun.error().message);
    const Status prepared = prepare();
    if (!prepared.ok()) return failed(prepared.error().message);
    if (container_.memory.empty()) return create_on_layer();
    const Status restored = restore_memory(
        call_.settings, call_.runc, call_.arguments, bundle_, {container_.memory, first_}, permit_,
        pod_.directory() + "/" + container_.name + "/restore.log");
    if (!restored.ok()) return failed(restored.error().message);
    return created();
  }

  Status prepare() const {
    TRANSSHIP_TRY(note(!container_.memory.empty()));
    if (bundle_.user_namespace) {
      return Error{ErrorCode::kPreconditionFailed,
                   "its pod has a user namespace (hostUsers: false), which cannot be restored"};
    }
    if (!container_.memory.empty()) {
      struct stat images {};
      if (::stat((container_.memory + "/inventory.img").c_str(), &images) != 0) {
        return Error{ErrorCode::kNotFound, "its memory is gone from " + container_.memory +
                                               ": the node was restarted before it was restored"};
      }
    }
    if (!container_.layer.empty()) {
      TRANSSHIP_TRY(apply_layer(container_.layer, bundle_.rootfs));
    }
    TRANSSHIP_TRY(share_once());
    if (!container_.memory.empty() && !bundle_.network_namespace.empty()) {
      TRANSSHIP_TRY(hold_network(bundle_.network_namespace, claim_.old_address));
    }
    return {};
  }

  // What the containers of a sandbox share is filled by the first of them that is restored.
  Status share_once() const {
    const auto filled = pod_.shared_memory_sandbox();
    if (!filled) return filled.error();
    if (*filled == bundle_.sandbox_id) return {};
    first_ = true;
    if (!claim_.shared_memory.empty()) {
      TRANSSHIP_TRY(fill_shared_memory(claim_.shared_memory, bundle_));
    }
    // Before it: where this try is interrupted, the next one is the first once more.
    if (!container_.memory.empty()) TRANSSHIP_TRY(permit_.grant(first_));
    return pod_.set_shared_memory_sandbox(bundle_.sandbox_id);
  }

  int create_on_layer() const {
    const auto status = call_.runc.run(call_.words);
    if (!status) return failed(status.error().message);
    if (*status == 0) return created();
    // Nothing has run, and the layer is there for the next try.
    const ContainerState again{RestoreState::kPending,
                               "runc create ended with status " + std::to_string(*status),
                               call_.arguments.id()};
    const Status kept = pod_.set_state(container_.name, again);
    if (!kept.ok()) return refuse(kept.error().message);
    return *status;
  }

  int created() const {
    const Status kept =
        pod_.set_state(container_.name, {RestoreState::kRestored, "", call_.arguments.id()});
    if (kept.ok()) return 0;
    discard(call_.arguments.id());
    return failed(kept.error().message);
  }

  const Call& call_;
  const Bundle& bundle_;
  const PodClaim& pod_;
  const Claim& claim_;
  const ClaimedContainer& container_;
  const Permit permit_;
  // Whether this try brings what the containers of the sandbox share.
  mutable bool first_ = false;
};

// kubelet has set up the pod's volumes when it asks for a sandbox, and gives up on that after four
// minutes; it asks again.
Status await_volumes(const PodClaim& pod) {
  const auto limit = std::chrono::steady_clock::now() + kVolumesTimeout;
  for (;;) {
    auto placed = pod.volumes_are_placed();
    if (!placed) return placed.error();
    if (*placed) return {};
    if (std::chrono::steady_clock::now() > limit) {
      return Error{ErrorCode::kUnavailable,
                   "the pod's emptyDirs have not got what was moved within " +
                       std::to_string(kVolumesTimeout.count()) +
                       " s; this is tried again: see the ContainerMigration"};
    }
    std::this_thread::sleep_for(kPoll);
  }
}

int create_sandbox(const Call& call, const Bundle& bundle, const PodClaim& pod) {
  const Status marked = mark_sandbox(call.settings, bundle.pod_uid, call.arguments.id());
  if (!marked.ok()) return call.fail(marked.error().message);
  const auto claim = pod.read();
  // Its containers are not started either.
  if (!claim) return call.fail("the claim of this pod cannot be read: " + claim.error().message);
  if (claim->has_value() && (*claim)->awaits_volumes) {
    const Status placed = await_volumes(pod);
    if (!placed.ok()) return call.fail(placed.error().message);
  }
  return call.pass_on();
}

// An init container that has done its work does so until all others run: from then on the pod is as
// any other.
int create_skipped(const Call& call, const Bundle& bundle, const PodClaim& pod) {
  const auto states = pod.states();
  if (!states) return call.fail(states.error().message);
  const bool over = std::all_of(states->begin(), states->end(), [](const auto& each) {
    return each.second.state == RestoreState::kRunning;
  });
  if (over) return call.pass_on();
  const Status replaced = run_nothing(bundle.directory, call.settings.self);
  if (!replaced.ok()) return call.fail(replaced.error().message);
  return call.pass_on();
}

int create_claimed(const Call& call, const Bundle& bundle, const PodClaim& pod) {
  auto claim = pod.read();
  if (!claim) {
    return call.fail("the claim of this pod cannot be read, so nothing of it is started: " +
                     claim.error().message);
  }
  if (!claim->has_value()) return call.pass_on();
  if (!call.arguments.unknown.empty()) {
    return call.fail("create has the option " + call.arguments.unknown +
                     ", which is not known here, so nothing of a pod that is restored is created");
  }
  if (!is_plain_name(call.arguments.id())) {
    return call.fail("the container's ID \"" + call.arguments.id() + "\" is no plain name");
  }
  if (bundle.container.empty()) {
    return call.fail("containerd does not say the name of the container " + call.arguments.id() +
                     ", so nothing of a pod that is restored is created");
  }
  if ((*claim)->awaits_volumes) {
    const auto placed = pod.volumes_are_placed();
    if (!placed) return call.fail(placed.error().message);
    if (!*placed) return call.fail("the pod's emptyDirs have not got what was moved yet");
  }
  if ((*claim)->skips(bundle.container)) return create_skipped(call, bundle, pod);
  const ClaimedContainer* container = (*claim)->find(bundle.container);
  if (container == nullptr) return call.pass_on();
  const auto lock = pod.lock();
  if (!lock) return call.fail(lock.error().message);
  return ClaimedCreate(call, bundle, pod, **claim, *container).run();
}

}  // namespace

int create(const Call& call) {
  const auto bundle = read_bundle(call.arguments.bundle);
  // What is wrong with it is runc's to say.
  if (!bundle || !is_plain_name(bundle->pod_uid)) return call.pass_on();
  const bool sandbox = bundle->container_type == "sandbox";
  if (!sandbox && bundle->container_type != "container") return call.pass_on();
  const auto pod = PodClaim::open(call.settings.claims, bundle->pod_uid);
  if (!pod) return call.fail(pod.error().message);
  if (sandbox) return create_sandbox(call, *bundle, *pod);
  return create_claimed(call, *bundle, *pod);
}

}  // namespace transship::runtime
