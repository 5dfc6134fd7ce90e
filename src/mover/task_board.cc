#include "mover/task_board.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "base/log.h"
#include "mover/node.h"

namespace transship::mover {
namespace {

using api::TaskKind;
using api::TaskPhase;
using api::TaskRequest;

int64_t unix_ms() {
  using std::chrono::duration_cast;
  return duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Status check_volume(const api::MoverVolume& volume) {
  std::string expected;
  switch (volume.kind) {
    case api::TreeKind::kVolume:
      TRANSSHIP_TRY(check_volume_name(volume.name));
      if (volume.empty_dir || volume.node_path.starts_with('/')) return {};
      return Error{ErrorCode::kInvalid, "volume " + volume.name + ": nodePath is not absolute"};
    case api::TreeKind::kLayer:
      expected = "layer." + volume.container;
      break;
    case api::TreeKind::kMemory:
      expected = "memory." + volume.container;
      break;
    case api::TreeKind::kSharedMemory:
      if (volume.name == "shm.pod") return {};
      return Error{ErrorCode::kInvalid, "the shared memory's name is not shm.pod"};
  }
  TRANSSHIP_TRY(check_volume_name(volume.container));
  if (volume.name == expected) return {};
  return Error{ErrorCode::kInvalid,
               "a tree of container " + volume.container + " is not named " + expected};
}

Status check_container(const api::MoverContainer& container) {
  TRANSSHIP_TRY(check_volume_name(container.name));
  if (container.id.empty()) return {};
  return check_container_id(container.id);
}

// Everything of a request that becomes part of a path.
Status check_identifiers(const TaskRequest& request) {
  if (!request.pod_uid.empty()) TRANSSHIP_TRY(check_uid("podUid", request.pod_uid));
  if (!request.source_pod_uid.empty()) {
    TRANSSHIP_TRY(check_uid("sourcePodUid", request.source_pod_uid));
  }
  std::set<std::string_view> names;
  for (const api::MoverVolume& volume : request.volumes) {
    TRANSSHIP_TRY(check_volume(volume));
    if (!names.insert(volume.name).second) {
      return Error{ErrorCode::kInvalid, "volume " + volume.name + " is named twice"};
    }
  }
  names.clear();
  for (const api::MoverContainer& container : request.containers) {
    TRANSSHIP_TRY(check_container(container));
    if (!names.insert(container.name).second)
      return Error{ErrorCode::kInvalid, "container " + container.name + " is named twice"};
  }
  if (request.deadline_seconds < 0 || request.bandwidth_bytes_per_second < 0 ||
      request.freeze_budget_milliseconds < 0) {
    return Error{ErrorCode::kInvalid,
                 "deadlineSeconds, bandwidthBytesPerSecond and freezeBudgetMilliseconds are not "
                 "negative"};
  }
  return {};
}

}  // namespace

void TaskProgress::set(api::VolumeReport report, Refresh refresh) {
  MutexLock lock(mutex_);
  for (Entry& known : entries_) {
    if (known.report.name != report.name) continue;
    known = {std::move(report), std::move(refresh)};
    return;
  }
  entries_.push_back({std::move(report), std::move(refresh)});
}

std::vector<api::VolumeReport> TaskProgress::reports() const {
  MutexLock lock(mutex_);
  std::vector<api::VolumeReport> reports;
  for (const Entry& entry : entries_) {
    reports.push_back(entry.report);
    if (entry.refresh) entry.refresh(reports.back());
  }
  return reports;
}

void TaskProgress::set_rounds(std::vector<api::RoundReport> rounds, int64_t estimated_final) {
  MutexLock lock(mutex_);
  rounds_ = std::move(rounds);
  estimated_final_ = estimated_final;
}

void TaskProgress::set_trial(int64_t frozen, int64_t dump) {
  MutexLock lock(mutex_);
  frozen_ = frozen;
  dump_ = dump;
}

void TaskProgress::show(api::TaskState& state) const {
  state.volumes = reports();
  MutexLock lock(mutex_);
  state.rounds = rounds_;
  state.estimated_final_milliseconds = estimated_final_;
  state.frozen_milliseconds = frozen_;
  state.dump_milliseconds = dump_;
}

TaskBoard::TaskBoard(Identity identity, std::map<TaskKind, TaskFunction> functions)
    : identity_(std::move(identity)), functions_(std::move(functions)) {}

TaskBoard::~TaskBoard() { stop(); }

Status TaskBoard::check(TaskKind kind, const TaskRequest& request) const {
  if (request.migration_uid != identity_.migration_uid) {
    return Error{ErrorCode::kForbidden, "this mover works for another migration"};
  }
  if (request.epoch != identity_.epoch) {
    return Error{ErrorCode::kForbidden,
                 "this mover is of epoch " + std::to_string(identity_.epoch) +
                     ", the request of epoch " + std::to_string(request.epoch)};
  }
  if (functions_.count(kind) == 0) {
    return Error{ErrorCode::kInvalid, "a " + std::string(api::to_string(identity_.role)) +
                                          " has no task " + std::string(api::to_string(kind))};
  }
  return check_identifiers(request);
}

Result<TaskBoard::Answer> TaskBoard::put(TaskKind kind, const TaskRequest& request) {
  TRANSSHIP_TRY(check(kind, request));
  MutexLock lock(mutex_);
  if (stopping_) return Error{ErrorCode::kUnavailable, "the mover is stopping"};
  const auto known = tasks_.find(kind);
  if (known != tasks_.end() && known->second.state.phase != TaskPhase::kFailed &&
      !is_further_pass(kind, known->second, request)) {
    TaskRequest told = known->second.request;
    told.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
    if (told == request && known->second.state.phase == TaskPhase::kRunning) {
      known->second.request = request;
      known->second.progress->bandwidth.set_rate(request.bandwidth_bytes_per_second);
    }
    // One that is over has no rate any more.
    if (told == request) return Answer{visible(known->second), false};
    return Error{ErrorCode::kConflict, "task " + std::string(api::to_string(kind)) +
                                           " was already started with another request"};
  }
  if (kind != TaskKind::kRelease && tasks_.count(TaskKind::kRelease) != 0) {
    return Error{ErrorCode::kPreconditionFailed, "the mover has been released"};
  }
  // A pod that is to go on does not wait for its dump.
  for (auto& [other, task] : tasks_) {
    if (kind == TaskKind::kThaw && (other == TaskKind::kDump || other == TaskKind::kTrialDump))
      task.thread.request_stop();
  }
  Task& task = tasks_[kind];
  task.request = request;
  start(kind, task);
  return Answer{visible(task), true};
}

bool TaskBoard::is_further_pass(TaskKind kind, const Task& task, const TaskRequest& request) {
  if (task.state.phase != TaskPhase::kSucceeded) return false;
  return (kind == TaskKind::kPreCopy && request.pass > task.request.pass) ||
         (kind == TaskKind::kClaim && request.pod_uid != task.request.pod_uid);
}

void TaskBoard::start(TaskKind kind, Task& task) {
  task.state = {};
  task.state.started_unix_ms = unix_ms();
  task.progress = std::make_shared<TaskProgress>();
  task.progress->bandwidth.set_rate(task.request.bandwidth_bytes_per_second);
  // The assignment joins the thread of an earlier, failed try: its last step was to say so.
  task.thread =
      std::jthread([this, kind, request = task.request, progress = task.progress](
                       const std::stop_token& stop) { run(stop, kind, request, *progress); });
}

void TaskBoard::run(const std::stop_token& stop, TaskKind kind, const TaskRequest& request,
                    TaskProgress& progress) {
  const std::string name(api::to_string(kind));
  log::info("task started", {{"task", name}});
  if (kind == TaskKind::kRelease) wait_for_others(kind);
  const Deadline deadline(stop, std::chrono::seconds(request.deadline_seconds));
  const Status status = functions_.at(kind)(request, deadline, progress);
  if (status.ok()) {
    log::info("task succeeded", {{"task", name}});
  } else {
    log::error("task failed", {{"task", name},
                               {"code", std::string(to_string(status.error().code))},
                               {"error", status.error().message}});
  }
  MutexLock lock(mutex_);
  api::TaskState& state = tasks_.at(kind).state;
  state.phase = status.ok() ? TaskPhase::kSucceeded : TaskPhase::kFailed;
  if (!status.ok()) {
    state.error_code = status.error().code;
    state.message = status.error().message;
  }
  state.finished_unix_ms = unix_ms();
  finished_.notify_all();
}

void TaskBoard::wait_for_others(TaskKind kind) {
  MutexLock lock(mutex_);
  for (auto& [other, task] : tasks_) {
    if (other != kind) task.thread.request_stop();
  }
  while (others_run(kind)) finished_.wait(lock);
}

bool TaskBoard::others_run(TaskKind kind) const {
  return std::any_of(tasks_.begin(), tasks_.end(), [kind](const auto& entry) {
    return entry.first != kind && entry.second.state.phase == TaskPhase::kRunning;
  });
}

api::TaskState TaskBoard::visible(const Task& task) {
  api::TaskState state = task.state;
  state.bandwidth_bytes_per_second = task.request.bandwidth_bytes_per_second;
  state.pass = task.request.pass;
  task.progress->show(state);
  return state;
}

api::TaskState TaskBoard::await(TaskKind kind, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  MutexLock lock(mutex_);
  while (!stopping_ && tasks_.at(kind).state.phase == TaskPhase::kRunning) {
    if (finished_.wait_until(lock, until) == std::cv_status::timeout) break;
  }
  return visible(tasks_.at(kind));
}

std::map<TaskKind, api::TaskState> TaskBoard::states() const {
  MutexLock lock(mutex_);
  std::map<TaskKind, api::TaskState> states;
  for (const auto& [kind, task] : tasks_) states[kind] = visible(task);
  return states;
}

bool TaskBoard::any_running() const {
  MutexLock lock(mutex_);
  return std::any_of(tasks_.begin(), tasks_.end(), [](const auto& entry) {
    return entry.second.state.phase == TaskPhase::kRunning;
  });
}

bool TaskBoard::released() const {
  MutexLock lock(mutex_);
  const auto release = tasks_.find(TaskKind::kRelease);
  return release != tasks_.end() && release->second.state.phase == TaskPhase::kSucceeded;
}

void TaskBoard::stop() {
  std::vector<std::jthread> threads;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    for (auto& [kind, task] : tasks_) {
      task.thread.request_stop();
      threads.push_back(std::move(task.thread));
    }
  }
  threads.clear();  // joins
}

}  // namespace transship::mover
