// TaskBoard: a mover's tasks, at most one of each kind, each on a thread of its own; what the
// control protocol says about repeating a PUT is kept here (api/mover_protocol.h). Safe from any
// thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "api/mover_protocol.h"
#include "base/mutex.h"
#include "base/result.h"
#include "mover/deadline.h"
#include "transfer/rate_limiter.h"

namespace transship::mover {

// The volume reports of one task: written by it, read by every GET; and what may be changed while
// it runs. Safe from any thread.
class TaskProgress {
 public:
  // Of a send: the request's bandwidth limit, the latest one.
  transfer::RateLimiter bandwidth{0};

  // Brings a report's counters up to date; called for every look, from any thread.
  using Refresh = std::function<void(api::VolumeReport&)>;

  // Replaces the report of the same name, or adds it.
  void set(api::VolumeReport report, Refresh refresh = nullptr) EXCLUDES(mutex_);
  [[nodiscard]] std::vector<api::VolumeReport> reports() const EXCLUDES(mutex_);

  // The rounds so far, and how long the final one would take (milliseconds).
  void set_rounds(std::vector<api::RoundReport> rounds, int64_t estimated_final) EXCLUDES(mutex_);
  // Of a trial dump (milliseconds).
  void set_trial(int64_t frozen, int64_t dump) EXCLUDES(mutex_);
  // Fills in what the state of a task says of volumes, rounds and a trial.
  void show(api::TaskState& state) const EXCLUDES(mutex_);

 private:
  struct Entry {
    api::VolumeReport report;
    Refresh refresh;
  };
  mutable Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  std::vector<api::RoundReport> rounds_ GUARDED_BY(mutex_);
  int64_t estimated_final_ GUARDED_BY(mutex_) = 0;
  int64_t frozen_ GUARDED_BY(mutex_) = 0;
  int64_t dump_ GUARDED_BY(mutex_) = 0;
};

// Does one kind of task; returns soon after the deadline's stop. Must bear being started anew after
// it failed at any point.
using TaskFunction = std::function<Status(const api::TaskRequest&, const Deadline&, TaskProgress&)>;

class TaskBoard {
 public:
  // Whom this mover works for; other requests are refused.
  struct Identity {
    std::string migration_uid;
    api::MoverRole role = api::MoverRole::kSender;
    int epoch = 0;
  };
  struct Answer {
    api::TaskState state;
    bool accepted = false;  // this call started it; false: it was there
  };

  TaskBoard(Identity identity, std::map<api::TaskKind, TaskFunction> functions);
  ~TaskBoard();  // as stop()
  TaskBoard(const TaskBoard&) = delete;
  TaskBoard& operator=(const TaskBoard&) = delete;

  // Starts the task, or finds it running or done. A precopy that is done starts with a higher pass
  // again, a claim with another pod. The bandwidth limit of one that runs may be
  // changed: only that differs in the request then. kForbidden: another migration or epoch;
  // kInvalid: the role has no such task, or an identifier in the request is malformed; kConflict:
  // the kind runs or has succeeded with another body; kPreconditionFailed: released (from the
  // moment that a release is accepted only release is; it first stops what still runs).
  Result<Answer> put(api::TaskKind kind, const api::TaskRequest& request) EXCLUDES(mutex_);

  // The task's state once it is over, or after `limit`, or when the board stops.
  [[nodiscard]] api::TaskState await(api::TaskKind kind, std::chrono::milliseconds limit)
      EXCLUDES(mutex_);

  [[nodiscard]] std::map<api::TaskKind, api::TaskState> states() const EXCLUDES(mutex_);
  [[nodiscard]] bool any_running() const EXCLUDES(mutex_);
  // True once a release has succeeded.
  [[nodiscard]] bool released() const EXCLUDES(mutex_);

  // Asks all tasks to stop and waits for them. Tasks do not undo what they did.
  void stop() EXCLUDES(mutex_);

 private:
  struct Task {
    api::TaskRequest request;
    api::TaskState state;
    std::shared_ptr<TaskProgress> progress;
    std::jthread thread;
  };
  [[nodiscard]] Status check(api::TaskKind kind, const api::TaskRequest& request) const;
  [[nodiscard]] static bool is_further_pass(api::TaskKind kind, const Task& task,
                                            const api::TaskRequest& request);
  void start(api::TaskKind kind, Task& task) REQUIRES(mutex_);
  void run(const std::stop_token& stop, api::TaskKind kind, const api::TaskRequest& request,
           TaskProgress& progress) EXCLUDES(mutex_);
  // Asks all others to stop and waits until they have.
  void wait_for_others(api::TaskKind kind) EXCLUDES(mutex_);
  [[nodiscard]] bool others_run(api::TaskKind kind) const REQUIRES(mutex_);
  [[nodiscard]] static api::TaskState visible(const Task& task);

  const Identity identity_;
  const std::map<api::TaskKind, TaskFunction> functions_;
  mutable Mutex mutex_;
  std::condition_variable_any finished_;
  std::map<api::TaskKind, Task> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace transship::mover
