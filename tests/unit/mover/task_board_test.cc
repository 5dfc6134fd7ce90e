#include "mover/task_board.h"

#include <gtest/gtest.h>

#include <latch>

#include "mover/serve.h"

namespace transship::mover {
namespace {

using api::TaskKind;
using api::TaskPhase;

const TaskBoard::Identity kIdentity{"migration", api::MoverRole::kSender, 1};

api::TaskRequest request(int64_t deadline_seconds = 0) {
  api::TaskRequest request;
  request.migration_uid = "migration";
  request.epoch = 1;
  request.deadline_seconds = deadline_seconds;
  return request;
}

// A task that goes on until it is asked to stop.
Status until_stopped(const api::TaskRequest&, const Deadline& deadline, TaskProgress&) {
  for (;;) TRANSSHIP_TRY(deadline.wait(std::chrono::hours(1), "go on"));
}

Status nothing(const api::TaskRequest&, const Deadline&, TaskProgress&) { return {}; }

void wait_until_idle(const TaskBoard& board) {
  while (board.any_running()) std::this_thread::yield();
}

TEST(TaskBoardTest, ARunningTaskIsFoundAgainAndShowsItsProgress) {
  std::latch reported(1);
  TaskBoard board(kIdentity, {{TaskKind::kSend, [&](const auto& r, const auto& d, auto& progress) {
                                 api::VolumeReport report;
                                 report.name = "data";
                                 report.bytes_done = 7;
                                 progress.set(report);
                                 reported.count_down();
                                 return until_stopped(r, d, progress);
                               }}});
  EXPECT_TRUE(board.put(TaskKind::kSend, request())->accepted);
  reported.wait();
  auto again = board.put(TaskKind::kSend, request());
  EXPECT_FALSE(again->accepted);
  EXPECT_EQ(again->state.phase, TaskPhase::kRunning);
  ASSERT_EQ(again->state.volumes.size(), 1U);
  EXPECT_EQ(again->state.volumes[0].bytes_done, 7);
  EXPECT_EQ(board.put(TaskKind::kSend, request(9)).error().code, ErrorCode::kConflict);
}

TEST(TaskBoardTest, TheBandwidthLimitOfARunningTaskMayBeChanged) {
  TaskBoard board(kIdentity,
                  {{TaskKind::kSend, [](const auto&, const Deadline& d, auto& progress) -> Status {
                      const transfer::Until until{d.stop(), d.end()};
                      TRANSSHIP_TRY(progress.bandwidth.take(1'000'000, until));
                      return progress.bandwidth.take(1, until);
                    }}});
  api::TaskRequest slow = request();
  slow.bandwidth_bytes_per_second = 1;
  EXPECT_EQ(board.put(TaskKind::kSend, slow)->state.bandwidth_bytes_per_second, 1);
  EXPECT_TRUE(board.any_running());
  api::TaskRequest fast = request();
  EXPECT_EQ(board.put(TaskKind::kSend, fast)->state.bandwidth_bytes_per_second, 0);
  wait_until_idle(board);
  EXPECT_EQ(board.states().at(TaskKind::kSend).phase, TaskPhase::kSucceeded);
  EXPECT_TRUE(board.put(TaskKind::kSend, slow).ok()) << "too late, but no conflict";
}

TEST(TaskBoardTest, ATaskEndsAtItsDeadline) {
  TaskBoard board(kIdentity, {{TaskKind::kSend, until_stopped}});
  ASSERT_TRUE(board.put(TaskKind::kSend, request(1)).ok());
  wait_until_idle(board);
  EXPECT_EQ(board.states().at(TaskKind::kSend).error_code, ErrorCode::kTimeout);
}

TEST(TaskBoardTest, AReleaseStopsTheOthersAndIsTheLast) {
  TaskBoard board(kIdentity, {{TaskKind::kSend, until_stopped}, {TaskKind::kRelease, nothing}});
  ASSERT_TRUE(board.put(TaskKind::kSend, request()).ok());
  EXPECT_FALSE(board.released());
  ASSERT_TRUE(board.put(TaskKind::kRelease, request()).ok());
  wait_until_idle(board);
  EXPECT_TRUE(board.released());
  EXPECT_EQ(board.states().at(TaskKind::kSend).error_code, ErrorCode::kCancelled);
  EXPECT_EQ(board.put(TaskKind::kSend, request()).error().code, ErrorCode::kPreconditionFailed);
  EXPECT_FALSE(board.put(TaskKind::kRelease, request())->accepted);
}

TEST(TaskBoardTest, StopEndsEverything) {
  TaskBoard board(kIdentity, {{TaskKind::kSend, until_stopped}});
  ASSERT_TRUE(board.put(TaskKind::kSend, request()).ok());
  board.stop();
  EXPECT_FALSE(board.any_running());
  EXPECT_EQ(board.put(TaskKind::kSend, request()).error().code, ErrorCode::kUnavailable);
}

TEST(EndingTest, AMoverEndsByItselfOnlyWhenNothingNeedsIt) {
  using std::chrono::seconds;
  ServeConfig config;
  config.linger = seconds(600);
  config.orphan_timeout = seconds(3600);
  struct Case {
    int idle;
    bool released, busy, pins;
    Ending expected;
  };
  for (const Case& c : {Case{599, true, false, false, Ending::kStay},
                        Case{600, true, false, false, Ending::kReleased},
                        Case{600, false, false, false, Ending::kStay},
                        Case{3600, false, false, false, Ending::kOrphaned},
                        Case{3600, false, true, false, Ending::kStay},
                        Case{99999, false, false, true, Ending::kStay}}) {
    EXPECT_EQ(ending(config, seconds(c.idle), c.released, c.busy, c.pins), c.expected) << c.idle;
  }
}

}  // namespace
}  // namespace transship::mover
