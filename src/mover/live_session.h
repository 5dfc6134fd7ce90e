// LiveSession: a sender's connection to the receiver from the first round to the final one. Rounds
// are sent while the pod uses the volumes (precopy); then the connection is kept, however long the
// pod takes to end, for what is left (send). A copier has it, for as long. Used by one thread at a
// time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "mover/copier.h"
#include "mover/task_board.h"
#include "mover/transfer_config.h"
#include "mover/volume_reports.h"
#include "transfer/round_plan.h"

namespace transship::mover {

class LiveSession {
 public:
  // Connects to the receiver at `host`, which may still be about to listen (tried for 30 s). Where
  // the connection breaks, then or later or while it rests, another one is made (tried for two
  // minutes), and what the receiver has not got is sent again.
  static Result<std::unique_ptr<LiveSession>> open(
      const TransferConfig& config, const std::string& host, transfer::Compression compression,
      std::vector<OpenVolume> volumes, const Deadline& deadline, TaskProgress& progress);

  // At least one round; as many as pay, of `limits.most` altogether. Then the connection rests.
  // After an error it is of no use any more.
  Status send_rounds(const transfer::RoundLimits& limits, const Deadline& deadline,
                     TaskProgress& progress);

  // The final round, with the volumes at rest. Reports get their digests.
  Status finish(const Deadline& deadline, TaskProgress& progress);

  // Whether it is about exactly these, in this order.
  [[nodiscard]] bool is_of(const std::vector<api::MoverVolume>& volumes) const;

 private:
  LiveSession(std::unique_ptr<Copier> copier, std::vector<OpenVolume> volumes,
              SharedCounters counters);
  // Counts what is not known yet, and hands the volumes over.
  Status begin(const CopierPeer& peer, transfer::SessionOptions options, const Deadline& deadline,
               TaskProgress& progress);
  Status wake(const Deadline& deadline, TaskProgress& progress);
  void report_rounds(TaskProgress& progress) const;

  std::unique_ptr<Copier> copier_;
  std::vector<OpenVolume> volumes_;  // without their directories, which the copier has
  SharedCounters counters_;
  std::vector<api::RoundReport> rounds_;
  std::vector<transfer::RoundTime> times_;
  int64_t estimated_final_ = 0;  // milliseconds
  bool resting_ = false;
};

}  // namespace transship::mover
