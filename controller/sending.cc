// The transfer as both of its steps see it: the pod's volumes from one mover to the other.
#include <algorithm>

#include "controller/steps.h"

namespace transship::controller {
namespace {

using api::MoverRole;
using api::TaskKind;

// Bytes a second: by the rounds that are over, else by what has been read so far.
double rate_of(const api::TaskState& state, int64_t transferred, WallTime now) {
  double bytes = 0;
  double milliseconds = 0;
  for (const api::RoundReport& round : state.rounds) {
    bytes += static_cast<double>(round.bytes);
    milliseconds += static_cast<double>(round.milliseconds);
  }
  if (state.rounds.empty()) {
    const bool ended = state.phase == api::TaskPhase::kSucceeded;
    const double until =
        ended ? static_cast<double>(state.finished_unix_ms)
              : std::chrono::duration<double, std::milli>(now.time_since_epoch()).count();
    bytes = static_cast<double>(transferred);
    milliseconds = until - static_cast<double>(state.started_unix_ms);
  }
  return bytes * 1000 / std::max(1.0, milliseconds);
}

void show_rounds(Context& context, const api::TaskState& state) {
  if (state.rounds.empty()) return;  // the send goes on with those of the precopy
  context.status.rounds.clear();
  for (const api::RoundReport& round : state.rounds) {
    context.status.rounds.push_back(
        {round.bytes, round.entries, static_cast<double>(round.milliseconds) / 1000});
  }
}

void show_progress(Context& context, TaskKind kind, const api::TaskState& send) {
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
  progress.bytes_per_second =
      static_cast<int64_t>(rate_of(send, progress.transferred_bytes, context.now));
  const bool ended = kind == TaskKind::kSend && send.phase == api::TaskPhase::kSucceeded;
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

}  // namespace

api::TaskRequest transfer_request(const Context& context, MoverRole role) {
  api::TaskRequest request = task_request(context, role);
  request.archive_directory = archive_directory(context);
  if (role == MoverRole::kReceiver) return request;
  request.peer_host = context.observed.receiver.address;
  request.bandwidth_bytes_per_second = context.spec().bandwidth_bytes_per_second;
  if (request.archive_directory.empty()) request.compression = context.spec().compression;
  return request;
}

void show_transfer(Context& context, TaskKind kind, const api::TaskState& state) {
  show_progress(context, kind, state);
  show_rounds(context, state);
}

Step sending(Context& context, TaskKind kind, const api::TaskRequest& request) {
  const api::TaskState* receiving =
      task_state(context.observed, MoverRole::kReceiver, TaskKind::kReceive);
  const api::TaskRequest receive = transfer_request(context, MoverRole::kReceiver);
  // Direct: the receiver listens first. Archive: it reads what the sender has finished.
  if (request.archive_directory.empty() && receiving == nullptr)
    return context.act(RunTask{MoverRole::kReceiver, TaskKind::kReceive, receive});
  const api::TaskState* running = task_state(context.observed, MoverRole::kSender, kind);
  if (running != nullptr) {
    const bool slower_or_faster =
        running->phase == api::TaskPhase::kRunning &&
        running->bandwidth_bytes_per_second != request.bandwidth_bytes_per_second;
    const bool once_more =
        running->phase == api::TaskPhase::kSucceeded && running->pass < request.pass;
    if (slower_or_faster || once_more)
      return context.act(RunTask{MoverRole::kSender, kind, request});
  }
  if (running != nullptr) show_transfer(context, kind, *running);
  Step step = task(context, MoverRole::kSender, kind, request, 50ms);
  // The receiver's word for what went wrong says more than the broken connection at the sender.
  if (receiving != nullptr && receiving->phase == api::TaskPhase::kFailed)
    return task(context, MoverRole::kReceiver, TaskKind::kReceive, receive, 50ms);
  return step;
}

}  // namespace transship::controller
