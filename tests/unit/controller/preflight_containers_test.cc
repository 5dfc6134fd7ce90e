// Preflight of migrations with layers or memory: each case spoils one thing of a pod that is in
// order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/names.h"
#include "controller/preflight.h"

namespace transship::controller {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Object running(const char* name) {
  return {{"name", name},
          {"containerID", std::string("containerd://id-") + name},
          {"imageID", "sha256:1"},
          {"state", {{"running", Object::object()}}}};
}

// The installer's pod on a node.
Object runtime_pod(const char* node, bool ready = true) {
  return {{"metadata", {{"name", std::string("runtime-") + node}, {"namespace", "ops"}}},
          {"spec",
           {{"nodeName", node}, {"containers", {{{"name", "install"}, {"args", {"install"}}}}}}},
          {"status",
           {{"conditions", {{{"type", "Ready"}, {"status", ready ? "True" : "False"}}}},
            {"containerStatuses",
             {{{"name", "install"},
               {"ready", ready},
               {"lastState",
                {{"terminated", {{"message", ready ? "" : "criu is not on the node\n"}}}}}}}}}}};
}

// Two containers, an init container that has ended, a sidecar.
Observed in_order(bool memory = true) {
  Observed observed;
  observed.migration.spec.pod_name = "web";
  observed.migration.spec.layer = true;
  observed.migration.spec.memory = memory;
  observed.migration.spec.stop = api::StopMode::kFreeze;
  observed.runtime_class = true;
  observed.runtime_pods = {runtime_pod("node-a"), runtime_pod("node-b")};
  observed.source_pod =
      Object{{"metadata", {{"name", "web"}, {"uid", "u1"}}},
             {"spec",
              {{"nodeName", "node-a"},
               {"initContainers",
                {{{"name", "prepare"}, {"image", "i@sha256:1"}},
                 {{"name", "proxy"}, {"image", "i@sha256:1"}, {"restartPolicy", "Always"}}}},
               {"containers",
                {{{"name", "main"}, {"image", "i@sha256:1"}},
                 {{"name", "log"}, {"image", "i@sha256:1"}}}}}},
             {"status",
              {{"initContainerStatuses", Object::array({running("proxy")})},
               {"containerStatuses", {running("main"), running("log")}}}}};
  return observed;
}

Object& container(Observed& observed, size_t index) {
  return (*observed.source_pod)["spec"]["containers"][index];
}

std::string refusal(const Observed& observed) { return preflight(observed, Settings()).failures(); }

TEST(PreflightContainers, TakesAPodThatIsInOrder) {
  EXPECT_EQ(refusal(in_order()), "");
  EXPECT_EQ(refusal(in_order(false)), "");
}

TEST(PreflightContainers, PlansATreeForEachPart) {
  const PreflightReport report = preflight(in_order(), Settings());
  std::vector<std::string> names;
  for (const api::VolumeStatus& volume : report.volumes) {
    names.push_back(volume.name);
    EXPECT_EQ(volume.plan, api::VolumePlan::kCopy);
  }
  EXPECT_THAT(names, ElementsAre("layer.proxy", "memory.proxy", "layer.main", "memory.main",
                                 "layer.log", "memory.log", "shm.pod"));
}

TEST(PreflightContainers, LetsInitContainersRunAgainUnlessMemoryGoesAlong) {
  const auto planned = [](bool memory) {
    std::vector<std::string> out;
    for (const api::ContainerStatus& plan : preflight(in_order(memory), Settings()).containers)
      out.push_back(plan.name + (plan.init ? " init" : " " + plan.id));
    return out;
  };
  EXPECT_THAT(planned(true),
              ElementsAre("prepare init", "proxy id-proxy", "main id-main", "log id-log"));
  EXPECT_THAT(planned(false), ElementsAre("proxy id-proxy", "main id-main", "log id-log"));
}

TEST(PreflightContainers, PlansNothingWhereOnlyVolumesGoAlong) {
  Observed observed = in_order();
  observed.migration.spec.layer = observed.migration.spec.memory = false;
  observed.runtime_class = false;
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_TRUE(report.volumes.empty());
  EXPECT_TRUE(report.containers.empty());
  EXPECT_TRUE(report.passed());
}

TEST(PreflightContainers, NeedsTheRuntimeClass) {
  Observed observed = in_order();
  observed.runtime_class = false;
  EXPECT_THAT(refusal(observed), HasSubstr("install the chart with runtime.enabled=true"));
  observed = in_order();
  (*observed.source_pod)["spec"]["runtimeClassName"] = "gvisor";
  EXPECT_THAT(refusal(observed), HasSubstr("the pod's runtimeClassName is gvisor"));
  (*observed.source_pod)["spec"]["runtimeClassName"] = kRuntimeClassName;
  EXPECT_EQ(refusal(observed), "");
}

TEST(PreflightContainers, RefusesAnotherWayToMove) {
  Observed observed = in_order();
  observed.migration.spec.stop = api::StopMode::kGraceful;
  EXPECT_THAT(refusal(observed), HasSubstr("strategy.stop: Freeze only"));
  observed = in_order();
  observed.migration.spec.mode = api::TransferMode::kArchive;
  EXPECT_THAT(refusal(observed), HasSubstr("are not archived"));
  observed = in_order();
  observed.migration.spec.exclude_volumes = {"tmp"};
  EXPECT_THAT(refusal(observed), HasSubstr("need all of the pod's volumes"));
}

TEST(PreflightContainers, NeedsContainersOfContainerdThatRun) {
  Observed observed = in_order();
  (*observed.source_pod)["status"]["containerStatuses"][1]["state"] = {
      {"waiting", Object::object()}};
  EXPECT_THAT(refusal(observed), HasSubstr("Container/log: it does not run"));
  observed = in_order();
  (*observed.source_pod)["status"]["containerStatuses"][0]["containerID"] = "cri-o://x";
  EXPECT_THAT(refusal(observed), HasSubstr("Container/main: it is run by cri-o"));
}

TEST(PreflightContainers, NeedsTheRuntimeOnTheTarget) {
  Observed observed = in_order();
  observed.migration.spec.target_node = "node-b";
  const auto refused = [&] { return refusal(observed); };
  EXPECT_THAT(refused(), Not(HasSubstr("Runtime")));
  observed.runtime_pods = {runtime_pod("node-a"), runtime_pod("node-b", false)};
  EXPECT_THAT(refused(), HasSubstr("transship-runtime on node node-b is not ready: criu is not on "
                                   "the node; the installer's pod is ops/runtime-node-b"));
  observed.runtime_pods = {runtime_pod("node-a")};
  EXPECT_THAT(refused(), HasSubstr("node node-b does not have transship-runtime"));
  EXPECT_THAT(refused(), HasSubstr("runtime.enabled=true"));
  // The one that takes it away is ready once it is gone.
  observed.runtime_pods = {runtime_pod("node-b")};
  observed.runtime_pods[0]["spec"]["containers"][0]["args"] = {"uninstall"};
  EXPECT_THAT(refused(), HasSubstr("is being taken away from node node-b"));
  // One that goes, while the next is there already.
  observed.runtime_pods = {runtime_pod("node-b"), runtime_pod("node-b")};
  observed.runtime_pods[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_THAT(refused(), Not(HasSubstr("Runtime")));
  // Volumes alone do without.
  observed.migration.spec.layer = observed.migration.spec.memory = false;
  observed.runtime_pods.clear();
  EXPECT_THAT(refused(), Not(HasSubstr("Runtime")));
}

TEST(PreflightContainers, NeedsTheRuntimeOnSomeOtherNodeWhereTheSchedulerChooses) {
  Observed observed = in_order();
  EXPECT_EQ(refusal(observed), "");
  observed.runtime_pods = {runtime_pod("node-a"), runtime_pod("node-b", false)};
  EXPECT_THAT(refusal(observed), HasSubstr("no node besides node-a can restore containers: "
                                           "transship-runtime on node node-b is not ready"));
  observed.runtime_pods.push_back(runtime_pod("node-c"));
  EXPECT_EQ(refusal(observed), "");
  observed.runtime_pods = {runtime_pod("node-a")};
  EXPECT_THAT(refusal(observed), HasSubstr("runtime.enabled=true"));
}

TEST(PreflightContainers, RefusesMemoryThatCannotGoAlong) {
  const auto with = [](const char* field, const Object& value) {
    Observed observed = in_order();
    container(observed, 1)[field] = value;
    return refusal(observed);
  };
  EXPECT_THAT(with("resources", {{"limits", {{"nvidia.com/gpu", 1}}}}),
              HasSubstr("nvidia.com/gpu"));
  EXPECT_EQ(with("resources", {{"limits", {{"memory", "1Gi"}}}}), "");
  EXPECT_THAT(with("volumeDevices", {{{"name", "disk"}}}), HasSubstr("block device"));
  EXPECT_THAT(with("lifecycle", {{"postStart", {{"exec", Object::object()}}}}),
              HasSubstr("postStart"));
  for (const char* field : {"hostPID", "hostIPC"}) {
    Observed observed = in_order();
    (*observed.source_pod)["spec"][field] = true;
    EXPECT_THAT(refusal(observed), HasSubstr(field));
  }
  Observed observed = in_order();
  (*observed.source_pod)["spec"]["initContainers"][1]["startupProbe"] = Object::object();
  EXPECT_THAT(refusal(observed), HasSubstr("sidecar proxy has a startupProbe"));
}

TEST(PreflightContainers, AllowsAHookWhereTheContainerIsAlone) {
  Observed observed = in_order();
  Object& spec = (*observed.source_pod)["spec"];
  spec.erase("initContainers");
  spec["containers"].erase(1);
  container(observed, 0)["lifecycle"] = {{"postStart", {{"exec", Object::object()}}}};
  EXPECT_EQ(refusal(observed), "");
}

}  // namespace
}  // namespace transship::controller
