#include <algorithm>

#include "controller/names.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

namespace condition = api::condition;
using api::MoverRole;
using api::SourceProcesses;
using api::TaskKind;

bool is_sealed(const Context& context) {
  const api::TaskState* seal = task_state(context.observed, MoverRole::kSender, TaskKind::kSeal);
  return seal != nullptr && seal->phase == api::TaskPhase::kSucceeded;
}

// The source must be as stopped as it was when copying began: what runs on, writes on.
Step still_stopped(Context& context) {
  const SourceProcesses processes = context.observed.sender.state->source_processes;
  const SourceProcesses wanted =
      context.graceful() ? SourceProcesses::kNone : SourceProcesses::kFrozen;
  // Sealed, it goes on only by our word: whatever the kubelet has done, it could not run.
  if (!is_sealed(context)) {
    if (Step step = within_freeze_budget(context)) return step;
  }
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
  const api::TaskRequest send = transfer_request(context, MoverRole::kSender);
  if (!send.volumes.empty()) {
    if (Step step = sending(context, TaskKind::kSend, send)) return step;
    if (Step step = task(context, MoverRole::kReceiver, TaskKind::kReceive,
                         transfer_request(context, MoverRole::kReceiver), kSoon))
      return step;
  }
  context.status.progress.percent = 100;
  context.done(condition::kTransferred, "Transferred",
               std::to_string(send.volumes.size()) + " volumes, " +
                   std::to_string(context.status.progress.transferred_bytes) + " bytes");
  return std::nullopt;  // both digests are there as well
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
  // A sender that hears nothing lets a frozen pod go before its probes have it killed. Not once it
  // has said that it will not; so this comes before the commit, and is asked of the very mover that
  // has frozen the pod.
  if (!context.graceful()) {
    api::TaskRequest request = task_request(context, MoverRole::kSender);
    request.volumes.clear();
    if (Step step = task(context, MoverRole::kSender, TaskKind::kSeal, request, 0ms)) return step;
  }
  // The point of no return: the status is written with its resource version, so this is one
  // compare-and-swap, and a cancel that came first wins.
  context.status.committed_time = format_micros(context.now);
  context.done(condition::kCommitted, "Committed",
               "from here on the target has the data that count");
  return context.again();
}

}  // namespace transship::controller
