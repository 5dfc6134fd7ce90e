#include "mover/pod_freeze.h"

#include <algorithm>

#include "base/log.h"
#include "mover/pod_cgroups.h"
#include "mover/source_network.h"

namespace transship::mover {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr milliseconds kThawAgain{500};

Error refused(const std::string& what) { return {ErrorCode::kPreconditionFailed, what}; }

Deadline limit_of(const Deadline& deadline, const std::optional<Deadline::Clock::time_point>& end) {
  if (!end) return deadline;
  const auto left = duration_cast<milliseconds>(*end - Deadline::Clock::now());
  return deadline.at_most(std::max(left, milliseconds(1)));
}

// With its network, which a dump has held, also one of a mover that was killed. Where that cannot
// be had the pod goes on nevertheless, since its probes would have it killed; it is an error, so
// that it is tried again.
Status thaw_pod(const Node& node, const std::string& pod_uid) {
  auto cgroups = PodCgroups::find(node.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  const Status released = release_source_network(node, *cgroups);
  const Status thawed = cgroups->thaw();
  if (!thawed.ok() || released.ok()) return thawed;
  return released.error().during("release the network of pod " + pod_uid);
}

}  // namespace

bool PodFreeze::is_over() const { return end_ && Deadline::Clock::now() >= *end_; }

Status PodFreeze::let_go() {
  const Status thawed = thaw_pod(node_, pod_uid_);
  if (!thawed.ok()) return thawed;
  state_ = State::kLetGo;
  changed_.notify_all();
  return {};
}

Status PodFreeze::freeze(const std::string& pod_uid, milliseconds budget,
                         const Deadline& deadline) {
  MutexLock lock(mutex_);
  if (state_ == State::kLetGo) {
    return refused("pod " + pod_uid + " goes on since " + why_let_go_ +
                   ", and is not frozen again by this mover");
  }
  if (state_ != State::kNone) return frozen_by_this(pod_uid);
  pod_uid_ = pod_uid;
  end_.reset();
  if (budget.count() > 0) end_ = Deadline::Clock::now() + budget;
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  TRANSSHIP_TRY(cgroups->freeze(limit_of(deadline, end_)));
  state_ = State::kFrozen;
  if (end_) watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  return {};
}

// The kubelet does not wait for a controller that is away.
void PodFreeze::watch(const std::stop_token& stop) {
  MutexLock lock(mutex_);
  while (state_ == State::kFrozen && !stop.stop_requested()) {
    if (!is_over()) {
      changed_.wait_until(lock, stop, *end_,
                          [this]() REQUIRES(mutex_) { return state_ != State::kFrozen; });
      continue;
    }
    why_let_go_ = "its liveness probes left no more time";
    const Status thawed = let_go();
    if (thawed.ok()) {
      log::warning(
          "the frozen pod goes on: nobody has sealed it, and its liveness probes would "
          "have it killed",
          {{"podUid", pod_uid_}});
      return;
    }
    log::error("cannot let the frozen pod go on", {{"error", thawed.error().message}});
    changed_.wait_until(lock, stop, Deadline::Clock::now() + kThawAgain,
                        [this]() REQUIRES(mutex_) { return state_ != State::kFrozen; });
  }
}

Status PodFreeze::frozen_by_this(const std::string& pod_uid) const {
  if ((state_ == State::kFrozen || state_ == State::kSealed) && pod_uid == pod_uid_) return {};
  if (state_ == State::kLetGo && pod_uid == pod_uid_)
    return refused("pod " + pod_uid + " goes on since " + why_let_go_);
  return refused("pod " + pod_uid + " was not frozen by this mover");
}

Status PodFreeze::check_frozen() const {
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid_);
  if (!cgroups) return cgroups.error();
  auto state = cgroups->state();
  if (!state) return state.error();
  if (*state == api::SourceProcesses::kFrozen) return {};
  return refused("pod " + pod_uid_ + " is not frozen any more: somebody else has let it go");
}

Status PodFreeze::while_frozen(const std::string& pod_uid, const Deadline& deadline,
                               const Work& work) {
  MutexLock lock(mutex_);
  TRANSSHIP_TRY(frozen_by_this(pod_uid));
  if (state_ == State::kSealed) return refused("pod " + pod_uid + " is sealed");
  const Status done = work(limit_of(deadline, end_));
  if (!check_frozen().ok()) {
    why_let_go_ = "it was let go while it was dumped";
    TRANSSHIP_TRY(let_go());
  }
  if (done.ok() || !is_over()) return done;
  return Error{done.error().code, done.error().message +
                                      " (the pod's liveness probes left no more time: raise their "
                                      "periodSeconds or failureThreshold)"};
}

Status PodFreeze::seal(const std::string& pod_uid) {
  MutexLock lock(mutex_);
  TRANSSHIP_TRY(frozen_by_this(pod_uid));
  if (state_ == State::kSealed) return {};
  if (is_over()) return refused("pod " + pod_uid + " is about to go on: its probes' time is over");
  TRANSSHIP_TRY(check_frozen());
  state_ = State::kSealed;
  changed_.notify_all();
  return {};
}

Status PodFreeze::thaw(const std::string& pod_uid) {
  MutexLock lock(mutex_);
  if (state_ == State::kNone || pod_uid != pod_uid_) {
    TRANSSHIP_TRY(thaw_pod(node_, pod_uid));
    if (state_ != State::kNone) return {};
    pod_uid_ = pod_uid;
    state_ = State::kLetGo;
  } else {
    TRANSSHIP_TRY(let_go());
  }
  if (why_let_go_.empty()) why_let_go_ = "the controller said so";
  return {};
}

void PodFreeze::end() {
  MutexLock lock(mutex_);
  if (state_ != State::kFrozen) return;
  why_let_go_ = "this mover was ended";
  if (const Status thawed = let_go(); !thawed.ok())
    log::error("cannot let the frozen pod go on", {{"error", thawed.error().message}});
}

Status PodFreeze::briefly(const std::string& pod_uid, milliseconds budget, const Deadline& deadline,
                          const Work& work) {
  MutexLock lock(mutex_);
  if (state_ != State::kNone) return refused("pod " + pod_uid + " was frozen already");
  std::optional<Deadline::Clock::time_point> end;
  if (budget.count() > 0) end = Deadline::Clock::now() + budget;
  auto cgroups = PodCgroups::find(node_.cgroup_root(), pod_uid);
  if (!cgroups) return cgroups.error();
  const Deadline limit = limit_of(deadline, end);
  TRANSSHIP_TRY(cgroups->freeze(limit));
  const Status done = work(limit);
  // It must run again, however often that has to be said.
  for (Status thawed = thaw_pod(node_, pod_uid); !thawed.ok(); thawed = thaw_pod(node_, pod_uid)) {
    log::error("cannot let the pod go on", {{"error", thawed.error().message}});
    const Status waited = deadline.wait(kThawAgain, "let pod " + pod_uid + " go on");
    if (!waited.ok()) return thawed;
  }
  return done;
}

}  // namespace transship::mover
