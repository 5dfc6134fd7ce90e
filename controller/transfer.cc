#include <algorithm>

#include "controller/names.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::SourceProcesses;
using api::TaskKind;

void show_progress(Context& context, const api::TaskState& send) {
  api::Progress& progress = context.status.progress;
  progress = {};
  for (const api::VolumeReport& volume : send.volumes) {
    progress.transferred_bytes += volume.bytes_done;
    progress.transferred_entries += volume.entries_done;
    progress.total_bytes += volume.bytes;
    progress.total_entries += volume.entries;
    if (api::VolumeStatus* status = context.status.volume(volume.name)) {
      status->transferred_bytes = volume.bytes_done;
      if (!volume.digest.empty()) status->digest = volume.digest;
      if (volume.bytes > 0) status->bytes = volume.bytes;
      if (volume.entries > 0) status->entries = volume.entries;
    }
  }
  const double seconds =
      std::max(0.001, std::chrono::duration<double>(context.now.time_since_epoch()).count() -
                          static_cast<double>(send.started_unix_ms) / 1000.0);
  const bool ended = send.phase == api::TaskPhase::kSucceeded;
  const double spent =
      ended ? std::max(0.001,
                       static_cast<double>(send.finished_unix_ms - send.started_unix_ms) / 1000.0)
            : seconds;
  progress.bytes_per_second =
      static_cast<int64_t>(static_cast<double>(progress.transferred_bytes) / spent);
  const int64_t whole = progress.total_bytes + progress.total_entries;
  const int64_t part = progress.transferred_bytes + progress.transferred_entries;
  progress.percent = ended        ? 100
                     : whole == 0 ? 0
                                  : static_cast<int>(std::min<int64_t>(99, part * 100 / whole));
}

std::string archive_directory(const Context& context) {
  if (context.spec().mode != api::TransferMode::kArchive) return "";
  return context.migration().namespace_name + "." + context.migration().name + "." +
         context.migration().uid;
}

// The source must be as stopped as it was when copying began: what runs on, writes on.
Step still_stopped(Context& context) {
  const SourceProcesses processes = context.observed.sender.state->source_processes;
  const SourceProcesses wanted =
      context.graceful() ? SourceProcesses::kNone : SourceProcesses::kFrozen;
  if (processes == wanted) return std::nullopt;
  if (!context.graceful() && context.observed.source_pod &&
      !is_deleting(*context.observed.source_pod)) {
    return context.fail("SourceNotFrozen", "the source pod's processes are not frozen any more");
  }
  return context.fail("SourceNotStopped",
                      "the source pod's processes are not as they were stopped");
}

}  // namespace

Step transfer(Context& context) {
  if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
  if (Step step = still_stopped(context)) return step;
  api::TaskRequest send = task_request(context, MoverRole::kSender);
  api::TaskRequest receive = task_request(context, MoverRole::kReceiver);
  if (!send.volumes.empty()) {
    send.archive_directory = receive.archive_directory = archive_directory(context);
    send.peer_host = context.observed.receiver.address;
    send.bandwidth_bytes_per_second = context.spec().bandwidth_bytes_per_second;
    const bool archive = !send.archive_directory.empty();
    // Direct: the receiver listens first. Archive: it reads what the sender has finished.
    if (!archive &&
        task_state(context.observed, MoverRole::kReceiver, TaskKind::kReceive) == nullptr) {
      return context.act(RunTask{MoverRole::kReceiver, TaskKind::kReceive, receive});
    }
    const api::TaskState* running =
        task_state(context.observed, MoverRole::kSender, TaskKind::kSend);
    if (running != nullptr && running->phase == api::TaskPhase::kRunning &&
        running->bandwidth_bytes_per_second != send.bandwidth_bytes_per_second) {
      return context.act(RunTask{MoverRole::kSender, TaskKind::kSend, send});
    }
    Step sending = task(context, MoverRole::kSender, TaskKind::kSend, send, 50ms);
    if (const api::TaskState* state =
            task_state(context.observed, MoverRole::kSender, TaskKind::kSend)) {
      show_progress(context, *state);
      if (sending) sending->status.progress = context.status.progress;
      if (sending) sending->status.volumes = context.status.volumes;
    }
    if (sending) {
      // The receiver's word for what went wrong says more than the broken connection at the sender.
      const api::TaskState* receiving =
          task_state(context.observed, MoverRole::kReceiver, TaskKind::kReceive);
      if (receiving != nullptr && receiving->phase == api::TaskPhase::kFailed) {
        return task(context, MoverRole::kReceiver, TaskKind::kReceive, receive, 50ms);
      }
      return sending;
    }
    if (Step step = task(context, MoverRole::kReceiver, TaskKind::kReceive, receive, kSoon))
      return step;
  }
  context.status.progress.percent = 100;
  context.done(condition::kTransferred, "Transferred",
               std::to_string(send.volumes.size()) + " volumes, " +
                   std::to_string(context.status.progress.transferred_bytes) + " bytes");
  return context.again();
}

Step verify(Context& context) {
  if (!task_request(context, MoverRole::kSender).volumes.empty()) {
    if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
    const api::TaskState* receive =
        task_state(context.observed, MoverRole::kReceiver, TaskKind::kReceive);
    const api::TaskState* send = task_state(context.observed, MoverRole::kSender, TaskKind::kSend);
    if (receive == nullptr || send == nullptr)
      return context.fail("VerifyFailed", "a mover forgot its transfer");
    for (const api::MoverVolume& volume : task_request(context, MoverRole::kSender).volumes) {
      const auto of = [&](const api::TaskState& state) {
        const auto found =
            std::find_if(state.volumes.begin(), state.volumes.end(),
                         [&](const api::VolumeReport& item) { return item.name == volume.name; });
        return found == state.volumes.end() ? api::VolumeReport{} : *found;
      };
      const std::string sent = of(*send).digest;
      const std::string read_back = of(*receive).verified_digest;
      if (sent.empty() || sent != read_back) {
        return context.fail("VerifyFailed", "volume " + volume.name + ": sent " + sent +
                                                ", read back " + read_back);
      }
      context.status.volume(volume.name)->digest = sent;
    }
  }
  context.done(condition::kVerified, "DigestsEqual",
               "what was read back on the target equals what was sent");
  return context.again();
}

Step commit(Context& context) {
  const Observed& observed = context.observed;
  if (Step step = movers(context, {.sender = true, .receiver = true})) return step;
  if (Step step = still_stopped(context)) return step;
  const bool pod_runs = observed.source_pod && !is_deleting(*observed.source_pod);
  if (context.graceful() ? pod_runs : !pod_runs) {
    return context.fail("SourceChanged",
                        "the source pod is not in the state in which it was stopped");
  }
  if (!observed.target_node || !node_is_ready(*observed.target_node)) {
    return context.fail("TargetNotReady",
                        "node " + context.status.target.node + " is not Ready any more");
  }
  // The point of no return: the status is written with its resource version, so this is one
  // compare-and-swap, and a cancel that came first wins.
  context.status.committed_time = format_micros(context.now);
  context.done(condition::kCommitted, "Committed",
               "from here on the target has the data that count");
  return context.again();
}

}  // namespace transship::controller
