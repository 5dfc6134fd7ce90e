// Migrations whose containers are restored, with their layers and with their memory, against the
// simulated world.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scenarios/trial.h"

namespace transship::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

enum class Part { kLayer, kMemory };

class Restored : public ::testing::TestWithParam<std::tuple<const char*, Part>> {
 protected:
  [[nodiscard]] std::string owner() const { return std::get<0>(GetParam()); }
  [[nodiscard]] bool memory() const { return std::get<1>(GetParam()) == Part::kMemory; }
  [[nodiscard]] Object spec(Object more = Object::object()) const {
    more["state"] = {{memory() ? "memory" : "containerLayer", "Include"}};
    return to_b(std::move(more));
  }
  void begin(Trial& run, Object more = Object::object()) const {
    run.world.trees = {"layer.db"};
    if (memory()) run.world.trees = {"layer.db", "memory.db", "shm.pod"};
    for (int i = 0; i < 3; ++i) run.world.tick();  // what is written there now must not be lost
    run.world.apply_migration("m", spec(std::move(more)));
  }
};

void expect_moved(Trial& run) {
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated") << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-b");
  EXPECT_THAT(run.world.violations, IsEmpty());
  EXPECT_THAT(run.world.leftovers(), IsEmpty());
}

void expect_on_source(Trial& run, const std::string& outcome) {
  EXPECT_EQ(run.world.condition("m", "Succeeded"), outcome) << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_THAT(run.world.violations, IsEmpty());
  EXPECT_THAT(run.world.leftovers(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Owners, Restored,
                         ::testing::Combine(::testing::Values("", "StatefulSet", "ReplicaSet"),
                                            ::testing::Values(Part::kLayer, Part::kMemory)),
                         [](const auto& suite) {
                           const std::string owner = std::get<0>(suite.param);
                           return (owner.empty() ? "BarePod" : owner) +
                                  (std::get<1>(suite.param) == Part::kLayer ? "Layer" : "Memory");
                         });

TEST_P(Restored, GoesOnWithAllThatItHad) {
  Trial run(owner());
  begin(run);
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
  const Object status = run.world.migration("m")["status"];
  EXPECT_EQ(status["containers"][0]["restore"], "Running");
  EXPECT_EQ(status["phaseTransitionTimestamps"].empty(), false);
}

TEST_P(Restored, ReachesTheSameEndWhateverWriteTheOperatorDiesAt) {
  int writes = 0;
  {
    Trial reference(owner());
    reference.world.writes = 0;
    begin(reference);
    ASSERT_TRUE(reference.finish("m"));
    writes = reference.world.writes;
  }
  for (const auto fate : {World::Fate::kRefused, World::Fate::kLost}) {
    for (int victim = 2; victim <= writes; ++victim) {
      SCOPED_TRACE("write " + std::to_string(victim) +
                   (fate == World::Fate::kLost ? ", reply lost" : ", refused"));
      Trial run(owner());
      run.world.writes = 0;
      begin(run);
      EXPECT_NE(run.finish_dying_at("m", victim, fate), "");
      expect_moved(run);
    }
  }
}

TEST_P(Restored, CancelledAtAnyMomentGoesOnWhereItWasOrArrives) {
  for (int moment = 0; moment < 120; ++moment) {
    SCOPED_TRACE("cancelled after step " + std::to_string(moment));
    Trial run(owner());
    begin(run);
    for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
    (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["cancel"] = true;
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    if (run.world.condition("m", "Committed") == "True/Committed")
      expect_moved(run);
    else
      expect_on_source(run, "False/Cancelled");
  }
}

TEST_P(Restored, EitherMoverLostAtAnyMomentLosesNothing) {
  for (const auto role : {api::MoverRole::kSender, api::MoverRole::kReceiver}) {
    for (int moment = 0; moment < 120; moment += 3) {
      SCOPED_TRACE(std::string(to_string(role)) + " lost after step " + std::to_string(moment));
      Trial run(owner());
      begin(run);
      for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
      if (run.ended("m")) break;
      run.world.crash_mover(role);
      ASSERT_TRUE(run.finish("m")) << run.story("m");
      EXPECT_THAT(run.world.violations, IsEmpty());
      EXPECT_THAT(run.world.leftovers(), IsEmpty());
      EXPECT_NE(run.world.workload_node(), "");
    }
  }
}

class MemoryThatCannotBeRestored : public ::testing::Test {
 protected:
  static Trial begun(Object spec = Object::object()) {
    Trial run("StatefulSet");
    run.world.trees = {"layer.db", "memory.db", "shm.pod"};
    run.world.restore_problem = "no such CPU feature: avx512";
    spec["state"] = {{"memory", "Include"}};
    run.world.apply_migration("m", to_b(std::move(spec)));
    return run;
  }
};

TEST_F(MemoryThatCannotBeRestored, IsNotReplacedByAColdStart) {
  Trial run = begun();
  for (int i = 0; i < 500; ++i) run.step("m");
  EXPECT_EQ(run.world.condition("m", "Restored"), "False/RestoreFailed");
  EXPECT_EQ(run.world.workload_node(), "");
  const Object container = run.world.migration("m")["status"]["containers"][0];
  EXPECT_EQ(container["restore"], "Failed");
  EXPECT_EQ(container["message"], "no such CPU feature: avx512");
}

TEST_F(MemoryThatCannotBeRestored, BeginsAnewOnceThatIsAskedFor) {
  Trial run = begun();
  ASSERT_TRUE(run.step_until("m", "Restored", "False/RestoreFailed"));
  (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["onRestoreFailure"] = "ColdStart";
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
}

TEST_F(MemoryThatCannotBeRestored, BeginsAnewAtOnceWhereThatWasAskedForBefore) {
  Trial run = begun({{"onRestoreFailure", "ColdStart"}});
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
}

TEST(MemoryThatCannotBeDumped, GoesOnWhereItIs) {
  Trial run("StatefulSet");
  run.world.trees = {"layer.db", "memory.db", "shm.pod"};
  run.world.apply_migration("m", to_b({{"state", {{"memory", "Include"}}}}));
  run.world.on_task = [](api::MoverRole, api::TaskKind kind) -> std::string {
    return kind == api::TaskKind::kDump ? "criu: Unsupported proto 262 for socket 5" : "";
  };
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/TaskFailed");
  EXPECT_THAT(run.world.migration("m")["status"]["rollback"]["message"].get<std::string>(),
              HasSubstr("Unsupported proto 262"));
  // Taking everything away does not take the reason away.
  EXPECT_EQ(run.world.condition("m", "SourceStopped"), "False/TaskFailed");
}

// Of a pod with a liveness probe that has it killed when it is frozen for three seconds.
class AFrozenPod : public ::testing::Test {
 protected:
  static constexpr int kAway = 80;  // ticks: four seconds
  static Trial begun(const char* part) {
    Trial run("StatefulSet");
    run.world.trees = {"layer.db"};
    if (std::string(part) == "memory") run.world.trees = {"layer.db", "memory.db", "shm.pod"};
    for (Object& pod : run.world.all(Kind::kPod)) {
      Object* kept = run.world.find(Kind::kPod, "default", controller::name_of(pod));
      if (kept == nullptr) continue;
      (*kept)["spec"]["containers"][0]["livenessProbe"] = {
          {"httpGet", {{"port", 80}}}, {"periodSeconds", 1}, {"failureThreshold", 3}};
    }
    run.world.apply_migration("m", to_b({{"state", {{part, "Include"}}}}));
    return run;
  }
  // Where it has arrived or gone on, whole.
  static void expect_one_of_it(Trial& run) {
    const bool committed = run.world.condition("m", "Committed") == "True/Committed";
    EXPECT_EQ(run.world.workload_node(), committed ? "node-b" : "node-a") << run.story("m");
    EXPECT_THAT(run.world.violations, IsEmpty());
    EXPECT_THAT(run.world.leftovers(), IsEmpty());
  }
};

TEST_F(AFrozenPod, GoesOnBeforeItsLivenessProbeHasItKilled) {
  Trial run = begun("containerLayer");
  run.world.sends_stall = true;
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/FreezeBudgetExceeded");
  const double downtime = run.world.migration("m")["status"]["downtimeSeconds"].get<double>();
  EXPECT_LT(downtime, 3);
  EXPECT_GT(downtime, 2);
}

TEST_F(AFrozenPod, GoesOnByItselfWhereNoControllerIsThere) {
  Trial run = begun("memory");
  ASSERT_TRUE(run.step_until("m", "Transferred", "True"));
  for (int i = 0; i < kAway; ++i) run.world.tick();
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_FALSE(run.world.is_frozen());
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/FreezeBudgetExceeded");
}

// The commit may have been written, for all that the sender knows.
TEST_F(AFrozenPod, StaysFrozenOnceItIsSealedHoweverLongTheControllerIsAway) {
  Trial run = begun("memory");
  bool sealed = false;
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) {
    sealed = sealed || kind == api::TaskKind::kSeal;
    return "";
  };
  while (!sealed && !run.ended("m")) run.step("m");
  ASSERT_TRUE(sealed) << run.story("m");
  EXPECT_NE(run.world.condition("m", "Committed"), "True/Committed");
  for (int i = 0; i < kAway; ++i) run.world.tick();
  EXPECT_TRUE(run.world.is_frozen());
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
}

TEST_F(AFrozenPod, IsNotCommittedWhereItCannotBeSealed) {
  Trial run = begun("memory");
  run.world.on_task = [](api::MoverRole, api::TaskKind kind) -> std::string {
    return kind == api::TaskKind::kSeal ? "the pod was not frozen by this mover" : "";
  };
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/TaskFailed");
}

TEST_F(AFrozenPod, NeverRunsTwiceWhenTheControllerIsAwayFromAnyMomentOn) {
  for (const char* part : {"containerLayer", "memory"}) {
    for (int moment = 0; moment < 120; ++moment) {
      SCOPED_TRACE(std::string(part) + ": away after step " + std::to_string(moment));
      Trial run = begun(part);
      for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
      for (int i = 0; i < kAway; ++i) run.world.tick();
      run.restart();
      ASSERT_TRUE(run.finish("m")) << run.story("m");
      expect_one_of_it(run);
    }
  }
}

TEST_F(AFrozenPod, NeverRunsTwiceWhateverWriteTheOperatorDiesAtAndIsAwayAfter) {
  int writes = 0;
  {
    Trial reference = begun("memory");
    ASSERT_TRUE(reference.finish("m"));
    writes = reference.world.writes;
  }
  for (const auto fate : {World::Fate::kRefused, World::Fate::kLost}) {
    for (int victim = 2; victim <= writes; ++victim) {
      SCOPED_TRACE("write " + std::to_string(victim) +
                   (fate == World::Fate::kLost ? ", reply lost" : ", refused"));
      Trial run = begun("memory");
      run.finish_dying_at("m", victim, fate, kAway);
      expect_one_of_it(run);
    }
  }
}

class ATrialDump : public ::testing::Test {
 protected:
  static Trial begun(Object more = Object::object()) {
    Trial run("StatefulSet");
    run.world.trees = {"layer.db", "memory.db", "shm.pod"};
    for (int i = 0; i < 3; ++i) run.world.tick();
    more["state"] = {{"memory", "Include"}};
    more["preflight"] = {{"trialDump", true}};
    run.world.apply_migration("m", to_b(std::move(more)));
    return run;
  }
};

TEST_F(ATrialDump, IsMadeOnceBeforeThePodIsMoved) {
  Trial run = begun();
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
  EXPECT_EQ(run.world.trials, 1);
  const Object trial = run.world.migration("m")["status"]["trialDump"];
  EXPECT_EQ(trial["bytes"], 400'000'000);
  EXPECT_EQ(trial["frozenSeconds"], 1.5);
  EXPECT_EQ(trial["dumpSeconds"], 1.0);
}

TEST_F(ATrialDump, TellsWhatToExpectWithoutMovingAnything) {
  Trial run = begun({{"dryRun", true}});
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "True/DryRun");
  const Object status = run.world.migration("m")["status"];
  // 3 for stopping and starting, 1 for the dump, 1 to send 400 MB, 0.4 to restore them.
  EXPECT_NEAR(status["estimatedDowntimeSeconds"].get<double>(), 5.4, 0.001);
  EXPECT_THAT(run.story("m"), HasSubstr("frozen for 1.50 s"));
}

TEST_F(ATrialDump, CountsInTheDowntimeThatIsAllowed) {
  Trial run = begun({{"strategy", {{"maxDowntimeSeconds", 4}, {"onBudgetExceeded", "Abort"}}}});
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/DowntimeBudgetExceeded");
}

TEST_F(ATrialDump, ThatFailsSaysWhyAndNothingElseIsDone) {
  for (const bool dry : {false, true}) {
    Trial run = begun({{"dryRun", dry}});
    run.world.on_task = [](api::MoverRole, api::TaskKind kind) -> std::string {
      return kind == api::TaskKind::kTrialDump ? "criu: Unknown socket collected (family 38)" : "";
    };
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    expect_on_source(run, "False/TrialDumpFailed");
    EXPECT_EQ(run.world.condition("m", "Prepared"), "False/TrialDumpFailed");
    EXPECT_THAT(run.world.migration("m")["status"]["conditions"].dump(), HasSubstr("family 38"));
    EXPECT_TRUE(run.world.passes.empty());
  }
}

TEST_F(ATrialDump, WhoseSenderDiesLeavesThePodRunning) {
  Trial run = begun();
  run.world.trial_is_cut_off = true;
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/SenderLost");
}

TEST_F(ATrialDump, LeavesNothingFrozenWhateverWriteTheOperatorDiesAt) {
  for (const bool dry : {false, true}) {
    int writes = 0;
    {
      Trial reference = begun({{"dryRun", dry}});
      ASSERT_TRUE(reference.finish("m"));
      writes = reference.world.writes;
    }
    for (int victim = 2; victim <= writes; ++victim) {
      SCOPED_TRACE("write " + std::to_string(victim));
      Trial run = begun({{"dryRun", dry}});
      run.finish_dying_at("m", victim, World::Fate::kLost);
      if (dry)
        expect_on_source(run, "True/DryRun");
      else
        expect_moved(run);
    }
  }
}

TEST_F(ATrialDump, CancelledAtAnyMomentLeavesThePodRunning) {
  for (int moment = 0; moment < 60; ++moment) {
    SCOPED_TRACE("cancelled after step " + std::to_string(moment));
    Trial run = begun({{"dryRun", true}});
    for (int i = 0; i < moment && !run.ended("m"); ++i) run.step("m");
    if (run.ended("m")) break;
    (*run.world.find(Kind::kMigration, "default", "m"))["spec"]["cancel"] = true;
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    EXPECT_EQ(run.world.workload_node(), "node-a");
    EXPECT_THAT(run.world.violations, IsEmpty());
    EXPECT_THAT(run.world.leftovers(), IsEmpty());
  }
}

TEST(ARestore, IsRefusedWhereNoNodeHasTheRuntime) {
  Trial run("StatefulSet");
  (void)run.world.remove(Kind::kRuntimeClass, "", controller::kRuntimeClassName, {});
  run.world.apply_migration("m", to_b({{"state", {{"memory", "Include"}}}}));
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_on_source(run, "False/PreflightFailed");
  EXPECT_THAT(run.story("m"), HasSubstr("runtime.enabled=true"));
}

// Whoever takes the new pod away before anything of it has run, costs time and no data.
TEST_P(Restored, APodThatIsDeletedBeforeItsNodeHasItGivesWayToAnother) {
  Trial run(owner());
  begin(run);
  bool deleted = false;
  run.world.on_task = [&](api::MoverRole, api::TaskKind kind) -> std::string {
    return kind == api::TaskKind::kClaim && !deleted ? "later" : "";
  };
  ASSERT_TRUE(run.step_until("m", "Restored", "False/TaskFailed")) << run.story("m");
  for (const Object& pod : run.world.all(Kind::kPod)) {
    if (controller::text_at(pod, {"metadata", "labels", "app"}) != "db") continue;
    (void)run.world.remove(Kind::kPod, "default", controller::name_of(pod), {});
    deleted = true;
  }
  ASSERT_TRUE(deleted);
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
}

TEST(RestoredByWhom, APodOfAnotherRuntimeIsNotLetGo) {
  Trial run("StatefulSet");
  run.world.trees = {"layer.db"};
  run.world.apply_migration("m", to_b({{"state", {{"containerLayer", "Include"}}}}));
  // Somebody takes the policy away, after it was last seen in force.
  run.world.on_write = [&](const std::string& what) {
    if (what == "delete db-0") run.world.holds_runtime_class = false;
    return World::Fate::kDone;
  };
  ASSERT_TRUE(run.step_until("m", "Restored", "False/RuntimeClassMissing")) << run.story("m");
  run.world.on_write = [](const std::string&) { return World::Fate::kDone; };
  EXPECT_EQ(run.world.workload_node(), "");
  run.world.holds_runtime_class = true;
  (void)run.world.remove(Kind::kPod, "default", "db-0", {});
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_moved(run);
}

}  // namespace
}  // namespace transship::testing
