// What has to be true of both nodes before a pod is touched whose containers are to be restored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scenarios/trial.h"

namespace transship::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Object with_layer(Object spec) {
  spec["state"] = {{"containerLayer", "Include"}};
  return spec;
}

Object& runtime_on(Trial& run, const std::string& node) {
  return *run.world.find(Kind::kPod, "transship-system", "transship-runtime-" + node);
}

void set_ready(Object& pod, const char* ready) { pod["status"]["conditions"][0]["status"] = ready; }

void expect_untouched(Trial& run, const std::string& outcome) {
  EXPECT_EQ(run.world.condition("m", "Succeeded"), outcome) << run.story("m");
  EXPECT_EQ(run.world.workload_node(), "node-a");
  EXPECT_FALSE(run.world.migration("m")["status"].contains("sourceStopRequestedTime"));
  EXPECT_THAT(run.world.violations, IsEmpty());
  EXPECT_THAT(run.world.leftovers(), IsEmpty());
}

TEST(TwoNodes, AnotherImageUnderTheSameNameIsFoundBeforeThePodIsStopped) {
  for (const char* owner : {"", "StatefulSet", "ReplicaSet"}) {
    Trial run(owner);
    run.world.images["node-b"] = "db@sha256:2";
    run.world.apply_migration("m", with_layer(to_b()));
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    expect_untouched(run, "False/ImageDiffers");
    const std::string story = run.story("m");
    EXPECT_THAT(story, HasSubstr("db@sha256:1 on node-a and db@sha256:2 on node-b"));
  }
}

TEST(TwoNodes, AnotherImageIsFoundByADryRunToo) {
  Trial run;
  run.world.images["node-b"] = "db@sha256:2";
  run.world.apply_migration("m", with_layer(to_b({{"dryRun", true}})));
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_untouched(run, "False/ImageDiffers");
}

TEST(TwoNodes, ImagesDoNotMatterToVolumes) {
  Trial run;
  run.world.images["node-b"] = "db@sha256:2";
  run.world.apply_migration("m", to_b());
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated") << run.story("m");
}

TEST(TwoNodes, ATargetWithoutTheRuntimeIsRefusedAtOnce) {
  for (const bool named : {true, false}) {
    Trial run;
    run.world.trees = {"layer.db"};
    set_ready(runtime_on(run, "node-b"), "False");
    for (int i = 0; i < 3; ++i) run.world.tick();
    run.world.apply_migration("m", with_layer(named ? to_b() : Object::object()));
    ASSERT_TRUE(run.finish("m")) << run.story("m");
    expect_untouched(run, "False/PreflightFailed");
    EXPECT_THAT(run.story("m"), HasSubstr("transship-runtime on node node-b is not ready"));
  }
}

TEST(TwoNodes, ARuntimeThatGoesWhileThePodIsPreparedForEndsIt) {
  Trial run;
  run.world.trees = {"layer.db"};
  run.world.apply_migration("m", with_layer(Object::object()));
  ASSERT_TRUE(run.step_until("m", "Validated", "True"));
  set_ready(runtime_on(run, "node-b"), "False");
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_untouched(run, "False/RuntimeNotReady");
}

void set_processor(Object& pod, const char* features) {
  const Object facts = {{"kernel", "6.18"}, {"cgroups", 2}, {"cpuFeatures", features}};
  pod["status"]["initContainerStatuses"] = {
      {{"name", "inspect"}, {"state", {{"terminated", {{"message", facts.dump()}}}}}}};
}

TEST(TwoNodes, MemoryGoesToNoProcessorThatLacksWhatItMayUse) {
  for (const bool named : {true, false}) {
    for (const char* part : {"memory", "containerLayer"}) {
      Trial run;
      run.world.trees = {"layer.db"};
      set_processor(runtime_on(run, "node-a"), "fpu avx2");
      set_processor(runtime_on(run, "node-b"), "fpu");
      for (int i = 0; i < 3; ++i) run.world.tick();
      Object spec = named ? to_b() : Object::object();
      spec["state"] = {{part, "Include"}};
      run.world.apply_migration("m", spec);
      ASSERT_TRUE(run.finish("m")) << run.story("m");
      if (std::string(part) == "containerLayer") {
        EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated") << run.story("m");
        continue;
      }
      expect_untouched(run, "False/PreflightFailed");
      EXPECT_THAT(run.story("m"), HasSubstr("lack avx2"));
    }
  }
}

TEST(TwoNodes, AProcessorThatIsFoundToLackSomethingWhenTheNodeIsChosenEndsIt) {
  Trial run;
  set_processor(runtime_on(run, "node-a"), "fpu avx2");
  set_processor(runtime_on(run, "node-b"), "fpu avx2");
  for (int i = 0; i < 3; ++i) run.world.tick();
  run.world.apply_migration("m", {{"state", {{"memory", "Include"}}}});
  ASSERT_TRUE(run.step_until("m", "Validated", "True"));
  set_processor(runtime_on(run, "node-b"), "fpu");
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  expect_untouched(run, "False/NodesDiffer");
}

TEST(TwoNodes, TheSchedulerIsNotOfferedNodesThatCannotRestore) {
  Trial run;
  run.world.trees = {"layer.db"};
  Object other = runtime_on(run, "node-b");
  other["metadata"]["name"] = "transship-runtime-node-c";
  other["spec"]["nodeName"] = "node-c";
  set_ready(other, "False");
  ASSERT_TRUE(run.world.create(Kind::kPod, other, false).ok());
  for (int i = 0; i < 3; ++i) run.world.tick();
  run.world.apply_migration("m", with_layer(Object::object()));
  Object seen;
  for (int i = 0; i < 200 && seen.is_null(); ++i) {
    run.step("m");
    for (const Object& pod : run.world.all(Kind::kPod)) {
      if (controller::text_at(pod, {"metadata", "labels", controller::kRole}) == "reserve")
        seen = pod;
    }
  }
  ASSERT_FALSE(seen.is_null()) << run.story("m");
  EXPECT_THAT(seen["spec"]["affinity"].dump(), HasSubstr("node-c"));
  ASSERT_TRUE(run.finish("m")) << run.story("m");
  EXPECT_EQ(run.world.condition("m", "Succeeded"), "True/Migrated") << run.story("m");
}

}  // namespace
}  // namespace transship::testing
