// Copying while the pod runs, against the simulated world: when it is done, again, or not at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scenarios/trial.h"

namespace transship::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void expect_moved(Trial& run) {
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated");
  EXPECT_EQ(run.world.workload_node(), "node-b");
  EXPECT_THAT(run.world.violations, IsEmpty());
  EXPECT_THAT(run.world.leftovers(), IsEmpty());
}

void expect_untouched(Trial& run, const std::string& reason) {
  ASSERT_TRUE(run.finish("m", 8000)) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "False/" + reason);
  EXPECT_FALSE(run.world.migration("m")["status"].contains("sourceStopRequestedTime"));
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, IsEmpty());
  EXPECT_THAT(run.world.leftovers(), IsEmpty());
}

void set_suspend(Trial& run, bool suspend) {
  (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["suspend"] = suspend;
}

TEST(PreCopy, IsDoneOnceWhileThePodRunsUnlessSaidOtherwise) {
  Trial run("StatefulSet");
  run.world.apply_migration("m", to_b());
  bool ran = false;
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) -> std::string {
    if (kind == api::TaskKind::kPreCopy) ran = run.world.workload_node() == "node-a";
    return "";
  };
  expect_moved(run);
  EXPECT_TRUE(ran);
  EXPECT_THAT(run.world.passes, ElementsAre(1));
  EXPECT_EQ(run.world.condition("m", "PreCopied"), "True/PreCopied");
  EXPECT_EQ(run.world.migration("m")["status"]["rounds"].size(), 1U);
}

TEST(PreCopy, IsLeftOutWhereEverythingIsToBeCopiedAfterTheStop) {
  for (const char* stop : {"Graceful", "Freeze"}) {
    Trial run("StatefulSet");
    run.world.apply_migration("m", to_b({{"strategy", {{"type", "StopAndCopy"}, {"stop", stop}}}}));
    expect_moved(run);
    EXPECT_THAT(run.world.passes, IsEmpty());
    EXPECT_EQ(run.world.condition("m", "PreCopied"), "True/NotNeeded");
  }
}

TEST(PreCopy, ThatFailsLeavesThePodAsItWas) {
  Trial run("StatefulSet");
  run.world.apply_migration("m", to_b());
  run.world.on_task = [](api::MoverRole, api::TaskKind kind) -> std::string {
    return kind == api::TaskKind::kPreCopy ? "link is down" : "";
  };
  expect_untouched(run, "TaskFailed");
}

TEST(PreCopy, GoesOnWithANewMoverWhereOneIsLostBeforeTheStop) {
  for (const auto role : {api::MoverRole::kSender, api::MoverRole::kReceiver}) {
    for (const char* done : {"Prepared", "PreCopied"}) {
      SCOPED_TRACE(std::string(to_string(role)) + " lost after " + done);
      Trial run("StatefulSet");
      run.world.apply_migration("m", to_b());
      ASSERT_TRUE(run.step_until("m", done, "True"));
      run.world.crash_mover(role);
      expect_moved(run);
      EXPECT_EQ(run.world.migration("m")["status"]["epoch"], 2);
      EXPECT_EQ(run.world.migration("m")["status"]["attempts"], 1);
    }
  }
}

TEST(PreCopy, WhoseMoversAreLostAgainAndAgainEnds) {
  Trial run("StatefulSet");
  run.world.apply_migration("m", to_b());
  ASSERT_TRUE(run.step_until("m", "Prepared", "True"));
  for (int i = 0; i < 200 && !run.ended("m"); ++i) {
    if (!run.world.migration("m")["status"].contains("rollback"))
      run.world.crash_mover(api::MoverRole::kReceiver);
    run.step("m");
  }
  expect_untouched(run, "ReceiverLost");
}

TEST(PreCopy, BeyondTheBudgetEndsTheMigrationWhereThatIsAskedFor) {
  Trial run("StatefulSet");
  run.world.final_round_milliseconds = 8000;
  run.world.apply_migration(
      "m", to_b({{"strategy", {{"maxDowntimeSeconds", 10}, {"onBudgetExceeded", "Abort"}}}}));
  expect_untouched(run, "DowntimeBudgetExceeded");
  EXPECT_EQ(run.world.migration("m")["status"]["estimatedDowntimeSeconds"], 11.0);
}

TEST(PreCopy, BeyondTheBudgetGoesOnWhereNothingElseIsAskedFor) {
  Trial run("StatefulSet");
  run.world.final_round_milliseconds = 8000;
  run.world.apply_migration("m", to_b({{"strategy", {{"maxDowntimeSeconds", 10}}}}));
  expect_moved(run);
  EXPECT_EQ(run.world.condition("m", "PreCopied"), "True/DowntimeBudgetExceeded");
}

TEST(PreCopy, WithinTheBudgetGoesOn) {
  Trial run("StatefulSet");
  run.world.final_round_milliseconds = 6000;
  run.world.apply_migration(
      "m", to_b({{"strategy", {{"maxDowntimeSeconds", 10}, {"onBudgetExceeded", "Abort"}}}}));
  expect_moved(run);
  EXPECT_EQ(run.world.condition("m", "PreCopied"), "True/PreCopied");
}

// Whenever it is held before the stop: what was written meanwhile is copied again before the stop,
// once.
TEST(PreCopy, GoesOnAfterASuspensionAtAnyMoment) {
  for (int moment = 0; moment < 60; ++moment) {
    SCOPED_TRACE("suspended after step " + std::to_string(moment));
    Trial run("StatefulSet");
    run.world.apply_migration("m", to_b());
    for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
    const bool stops =
        !controller::text_at(run.world.migration("m"), {"status", "sourceStopRequestedTime"})
             .empty();
    if (stops) break;
    const size_t before = run.world.passes.size();
    set_suspend(run, true);
    for (int i = 0; i < 60; ++i) run.step("m");
    EXPECT_EQ(run.world.passes.size(), before);
    EXPECT_EQ(run.world.workload_node(), "node-a");
    run.restart();
    set_suspend(run, false);
    expect_moved(run);
    EXPECT_EQ(run.world.passes.size(), before + 1);
  }
}

TEST(PreCopy, WhoseReceiverFailsBeforeTheStopEndsBeforeTheStop) {
  Trial run("StatefulSet");
  run.world.apply_migration("m", to_b());
  ASSERT_TRUE(run.step_until("m", "PreCopied", "True"));
  run.world.fail_receive("the connection broke");
  expect_untouched(run, "TaskFailed");
}

}  // namespace
}  // namespace transship::testing
