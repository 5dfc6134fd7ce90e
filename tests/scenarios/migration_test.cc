// Whole migrations against the simulated world: undisturbed, and with the operator dying after
// every single write, replies lost, movers crashing, nodes going, users cancelling.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/names.h"
#include "tests/scenarios/trial.h"

namespace transship::testing {
namespace {

class EveryOwner : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  std::string owner() const { return std::get<0>(GetParam()); }
  Object spec() const { return to_b({{"strategy", {{"stop", std::get<1>(GetParam())}}}}); }
};

INSTANTIATE_TEST_SUITE_P(Owners, EveryOwner,
                         ::testing::Combine(::testing::Values("", "StatefulSet", "ReplicaSet"),
                                            ::testing::Values("Graceful", "Freeze")),
                         [](const auto& suite) {
                           const std::string owner = std::get<0>(suite.param);
                           return (owner.empty() ? "BarePod" : owner) + std::get<1>(suite.param);
                         });

TEST_P(EveryOwner, IsMovedWithItsDataAndNothingIsLeft) {
  Trial run(owner());
  run.world.apply_migration("m", spec());
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated");
  EXPECT_EQ(run.world.workload_node(), "node-b");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

TEST_P(EveryOwner, ReachesTheSameEndWhateverWriteTheOperatorDiesAt) {
  int writes = 0;
  {
    Trial reference(owner());
    reference.world.writes = 0;
    reference.world.apply_migration("m", spec());
    ASSERT_TRUE(reference.finish("m"));
    writes = reference.world.writes;
  }
  ASSERT_GT(writes, 20);
  for (const auto fate : {World::Fate::kRefused, World::Fate::kLost}) {
    for (int victim = 2; victim <= writes; ++victim) {
      SCOPED_TRACE("write " + std::to_string(victim) +
                   (fate == World::Fate::kLost ? ", reply lost" : ", refused"));
      Trial run(owner());
      run.world.writes = 0;
      run.world.apply_migration("m", spec());
      const std::string what = run.finish_dying_at("m", victim, fate);
      EXPECT_NE(what, "");
      EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated")
          << what << ": " << run.last_error;
      EXPECT_EQ(run.world.workload_node(), "node-b") << what;
      EXPECT_THAT(run.world.violations, ::testing::IsEmpty()) << what;
      EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty()) << what;
    }
  }
}

TEST_P(EveryOwner, CancelledAtAnyMomentGoesBackOrGoesOn) {
  for (int moment = 0; moment < 120; ++moment) {
    SCOPED_TRACE("cancelled after step " + std::to_string(moment));
    Trial run(owner());
    run.world.apply_migration("m", spec());
    for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
    if (run.ended("m")) break;
    (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["cancel"] = true;
    run.world.find(Kind::kMigration, "default", "m")->at("metadata")["resourceVersion"] =
        "changed-" + std::to_string(moment);
    const bool committed = run.world.condition("m", "Committed").rfind("True", 0) == 0;
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    EXPECT_EQ(run.world.condition("m", "Succeeded"),
              committed ? "True/Migrated" : "False/Cancelled");
    EXPECT_EQ(run.world.workload_node(), committed ? "node-b" : "node-a");
    EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
    EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
  }
}

// Mounts go with a reboot, and kubelet empties what a deleted pod had.
TEST_P(EveryOwner, SurvivesARebootOfTheSourceWhileItCopies) {
  Trial run(owner());
  run.world.apply_migration("m", spec());
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) -> std::string {
    if (kind != api::TaskKind::kSend) return "";
    run.world.stop_node("node-a");
    return "connection reset";
  };
  for (int i = 0; i < 1000; ++i) run.step("m");
  run.world.on_task = [](auto, auto) { return ""; };
  run.world.start_node("node-a");
  ASSERT_TRUE(run.finish("m", 8000)) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded").substr(0, 5), "False");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

TEST_P(EveryOwner, SurvivesALostMoverAtAnyMoment) {
  for (const auto role : {api::MoverRole::kSender, api::MoverRole::kReceiver}) {
    for (int moment = 0; moment < 120; ++moment) {
      SCOPED_TRACE(std::string(to_string(role)) + " lost after step " + std::to_string(moment));
      Trial run(owner());
      run.world.apply_migration("m", spec());
      for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
      if (run.ended("m")) break;
      run.world.crash_mover(role);
      ASSERT_TRUE(run.finish("m")) << run.story("m");
      const bool committed = run.world.condition("m", "Committed").rfind("True", 0) == 0;
      EXPECT_EQ(run.world.workload_node(), committed ? "node-b" : "node-a");
      EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
      EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
    }
  }
}

TEST(Migration, TargetThatDiesBeforeTheCommitBringsTheSourceBack) {
  Trial run;
  run.world.apply_migration("m", to_b());
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) -> std::string {
    if (kind == api::TaskKind::kSend) run.world.stop_node("node-b");
    return kind == api::TaskKind::kSend ? "connection reset" : "";
  };
  ASSERT_TRUE(run.step_until("m", "Succeeded", "False", 8000)) << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
}

TEST(Migration, TargetThatDiesAfterTheCommitIsWaitedFor) {
  Trial run;
  run.world.apply_migration("m", to_b());
  ASSERT_TRUE(run.step_until("m", "Committed", "True"));
  run.world.stop_node("node-b");
  for (int i = 0; i < 1500; ++i) run.step("m");
  EXPECT_EQ(run.world.workload_node(), "");
  EXPECT_EQ(run.world.condition("m", "Succeeded").substr(0, 7), "Unknown");
  run.world.start_node("node-b");
  ASSERT_TRUE(run.finish("m", 8000)) << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-b");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
}

// The node's mounts go with a reboot, and its kubelet empties what a deleted pod had.
TEST(Migration, SourceThatDiesWithTheOnlyDataIsWaitedFor) {
  Trial run;
  run.world.apply_migration("m", to_b());
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) -> std::string {
    if (kind != api::TaskKind::kSend) return "";
    run.world.stop_node("node-a");
    return "connection reset";
  };
  for (int i = 0; i < 2000; ++i) run.step("m");
  EXPECT_EQ(run.world.workload_node(), "");
  EXPECT_NE(run.world.condition("m", "Committed").substr(0, 4), "True");
  run.world.on_task = [](auto, auto) { return ""; };
  run.world.start_node("node-a");
  ASSERT_TRUE(run.finish("m", 8000)) << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
}

TEST(Migration, FailedAttemptIsTriedAgainAsOftenAsBackoffLimitSays) {
  Trial run("StatefulSet");
  run.world.apply_migration("m", to_b({{"backoffLimit", 2}}));
  int failures = 2;
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) -> std::string {
    return kind == api::TaskKind::kSend && failures-- > 0 ? "link is down" : "";
  };
  ASSERT_TRUE(run.finish("m", 8000)) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated");
  EXPECT_EQ(run.world.migration("m")["status"]["attempts"], 3);
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

// Whatever becomes of the request: it is said until the sender shows the limit, and not again.
TEST(Migration, BandwidthLimitThatChangesWhileItCopiesIsToldToTheSender) {
  for (const auto fate : {World::Fate::kDone, World::Fate::kRefused, World::Fate::kLost}) {
    SCOPED_TRACE(static_cast<int>(fate));
    Trial run("StatefulSet");
    run.world.sends_stall = true;
    run.world.apply_migration("m", to_b({{"transfer", {{"bandwidthLimitBytesPerSecond", 1000}}}}));
    for (int i = 0; i < 1000 && !run.world.sending_limit(); ++i) run.step("m");
    ASSERT_EQ(run.world.sending_limit(), 1000) << run.story("m");

    int told = 0;
    run.world.on_write = [&](const std::string& write) {
      return write == "task send" && told++ == 0 ? fate : World::Fate::kDone;
    };
    for (int i = 0; i < 20; ++i) run.step("m");
    EXPECT_EQ(told, 0) << "nothing has changed";
    run.restart();  // nobody remembers what the last leader said
    Object& spec = (*run.world.find(Kind::kMigration, "default", "m"))["spec"];
    spec["transfer"]["bandwidthLimitBytesPerSecond"] = 2000;
    for (int i = 0; i < 20; ++i) run.step("m");
    EXPECT_EQ(run.world.sending_limit(), 2000);
    EXPECT_EQ(told, fate == World::Fate::kRefused ? 2 : 1);
    spec["transfer"].erase("bandwidthLimitBytesPerSecond");
    for (int i = 0; i < 20; ++i) run.step("m");
    EXPECT_EQ(run.world.sending_limit(), 0);

    run.world.sends_stall = false;
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated");
    EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
    EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
  }
}

TEST(Migration, TargetThatTheSchedulerChoseWithAnOldKernelIsRefusedBeforeTheStop) {
  Trial run("StatefulSet");
  (*run.world.find(Kind::kNode, "", "node-b"))["status"]["nodeInfo"]["kernelVersion"] = "5.4.0";
  run.world.apply_migration("m", Object::object());
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "False/KernelTooOld");
  EXPECT_EQ(run.world.condition("m", "SourceStopped").substr(0, 7), "Unknown") << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

TEST(Migration, VolumeOfTooManyEntriesIsRefusedBeforeTheStop) {
  Trial run("StatefulSet");
  run.world.entries = api::kMostEntries + 1;
  run.world.apply_migration("m", Object::object());
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "False/TooManyEntries");
  EXPECT_EQ(run.world.condition("m", "SourceStopped").substr(0, 7), "Unknown") << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

TEST(Migration, DryRunTouchesNothing) {
  Trial run("StatefulSet");
  const std::string before = run.world.workload_node();
  run.world.apply_migration("m", to_b({{"dryRun", true}}));
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/DryRun");
  EXPECT_EQ(run.world.workload_node(), before);
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

TEST(Migration, SecondOneOfTheSamePodIsRefused) {
  Trial run;
  run.world.apply_migration("first", to_b());
  for (int i = 0; i < 6; ++i) run.step("first");
  run.world.apply_migration("second", to_b());
  ASSERT_TRUE(run.finish("second")) << run.story("second");
  EXPECT_EQ(run.world.condition("second", "Succeeded"), "False/AlreadyMigrating");
  ASSERT_TRUE(run.finish("first"));
  EXPECT_EQ(run.world.condition("first", "Succeeded"), "True/Migrated");
  EXPECT_THAT(run.world.violations, ::testing::IsEmpty());
  EXPECT_THAT(run.world.leftovers(), ::testing::IsEmpty());
}

TEST(Migration, ForeignObjectOfAChildsNameIsLeftUntouched) {
  Trial run;
  run.world.apply_migration("m", to_b({{"suspend", true}}));
  const std::string name =
      "transship-" + controller::uid_of(run.world.migration("m")) + "-sender-1";
  ASSERT_TRUE(run.world
                  .create(Kind::kJob,
                          {{"metadata", {{"name", name}, {"namespace", "transship-system"}}}},
                          false)
                  .ok());
  (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["suspend"] = false;
  ASSERT_TRUE(run.step_until("m", "Succeeded", "False"));
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "False/NameConflict");
  EXPECT_NE(run.world.find(Kind::kJob, "transship-system", name), nullptr);
  EXPECT_EQ(run.world.workload_node(), "node-a");
}

TEST(Migration, SuspendedOneDoesNothingUntilResumed) {
  Trial run;
  run.world.apply_migration("m", to_b({{"suspend", true}}));
  for (int i = 0; i < 20; ++i) run.step("m");
  EXPECT_EQ(run.world.all(Kind::kJob).size(), 0U);
  (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["suspend"] = false;
  ASSERT_TRUE(run.finish("m"));
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated");
}

TEST(Migration, PodThatIsNotThereIsSaidPlainly) {
  Trial run;
  run.world.apply_migration("m", to_b());
  (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["podRef"]["name"] = "nobody";
  ASSERT_TRUE(run.finish("m"));
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "False/PodNotFound");
}

}  // namespace
}  // namespace transship::testing
