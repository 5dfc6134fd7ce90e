// PodFreeze: the freeze of the source pod by this mover, from its first moment to its end. A frozen
// pod is let go by the controller's word or, where nobody says anything, by itself: once what its
// liveness probes leave is over, since the kubelet would kill it and start it cold. Never again
// once it is sealed: the controller seals before it commits, and what is committed must not run
// here any more.
//
//   (none) -> frozen -> sealed -> let go      let go by itself: only from frozen
//               '----------------->'          frozen anew, sealed: never once let go
//
// It says nothing of a freeze by another mover: one that was made anew refuses to seal. Safe from
// any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "base/result.h"
#include "mover/deadline.h"
#include "mover/node.h"

namespace transship::mover {

class PodFreeze {
 public:
  using Work = std::function<Status(const Deadline&)>;

  explicit PodFreeze(const Node& node) : node_(node) {}  // which must outlive it
  ~PodFreeze() = default;  // the pod stays as it is, and nobody watches it any more
  PodFreeze(const PodFreeze&) = delete;
  PodFreeze& operator=(const PodFreeze&) = delete;

  // Stops every process of the pod; `budget` counts from the call (zero: no end). On an error they
  // run. kPreconditionFailed once the pod was let go: what was sent until then is old.
  Status freeze(const std::string& pod_uid, std::chrono::milliseconds budget,
                const Deadline& deadline) EXCLUDES(mutex_);

  // Does `work`, which must leave the pod frozen, to be done within the budget. kPreconditionFailed
  // where the pod is not frozen by this mover, or is sealed.
  Status while_frozen(const std::string& pod_uid, const Deadline& deadline, const Work& work)
      EXCLUDES(mutex_);

  // OK: the pod has not run since freeze(), and will not before thaw() is called, whatever else
  // happens. kPreconditionFailed where that cannot be said.
  Status seal(const std::string& pod_uid) EXCLUDES(mutex_);

  // Also of a pod that another mover has frozen. OK where nothing is frozen.
  Status thaw(const std::string& pod_uid) EXCLUDES(mutex_);

  // This mover ends: what it has frozen and nobody has sealed goes on.
  void end() EXCLUDES(mutex_);

  // Freezes the pod, does `work` within the budget, and lets the pod go on, whatever came of it;
  // then it may be frozen again. Where the pod cannot be let go, that is the error.
  Status briefly(const std::string& pod_uid, std::chrono::milliseconds budget,
                 const Deadline& deadline, const Work& work) EXCLUDES(mutex_);

 private:
  enum class State { kNone, kFrozen, kSealed, kLetGo };
  [[nodiscard]] Status frozen_by_this(const std::string& pod_uid) const REQUIRES(mutex_);
  [[nodiscard]] Status check_frozen() const REQUIRES(mutex_);
  [[nodiscard]] Status let_go() REQUIRES(mutex_);
  [[nodiscard]] bool is_over() const REQUIRES(mutex_);
  void watch(const std::stop_token& stop) EXCLUDES(mutex_);

  const Node& node_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  State state_ GUARDED_BY(mutex_) = State::kNone;
  std::string pod_uid_ GUARDED_BY(mutex_);
  std::optional<Deadline::Clock::time_point> end_ GUARDED_BY(mutex_);
  std::string why_let_go_ GUARDED_BY(mutex_);
  std::jthread watcher_ GUARDED_BY(mutex_);  // last: it ends before the rest goes
};

}  // namespace transship::mover
