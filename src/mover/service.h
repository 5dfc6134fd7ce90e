// MoverService: what a mover answers its controller: the state of its tasks and of the source pod.
// The control protocol over HTTP without the HTTP. Safe from any thread.
#pragma once

#include <chrono>
#include <string>

#include "api/mover_protocol.h"
#include "base/mutex.h"
#include "mover/control_server.h"
#include "mover/node.h"
#include "mover/task_board.h"

namespace transship::mover {

class MoverService {
 public:
  using Clock = std::chrono::steady_clock;

  // `node` must outlive it.
  MoverService(const Node& node, TaskBoard::Identity identity,
               std::map<api::TaskKind, TaskFunction> functions);

  // GET /v1/state and PUT /v1/tasks/KIND. Errors are {"code":"…","message":"…"} with the HTTP
  // status that the protocol names.
  ControlReply handle(const ControlRequest& request);

  [[nodiscard]] api::MoverState state() const;
  [[nodiscard]] Clock::time_point last_request() const EXCLUDES(mutex_);
  [[nodiscard]] const TaskBoard& tasks() const { return board_; }

  // Stops the tasks; further PUTs are refused.
  void stop() { board_.stop(); }

 private:
  ControlReply put(const std::string& kind, const std::string& body);
  [[nodiscard]] api::SourceProcesses source_processes(const api::MoverState& state) const
      EXCLUDES(mutex_);

  const Node& node_;
  const TaskBoard::Identity identity_;
  TaskBoard board_;
  mutable Mutex mutex_;
  Clock::time_point last_request_ GUARDED_BY(mutex_) = Clock::now();
  std::string source_pod_uid_ GUARDED_BY(mutex_);
};

}  // namespace transship::mover
