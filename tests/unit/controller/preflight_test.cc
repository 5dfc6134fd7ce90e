#include "controller/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/names.h"

namespace transship::controller {
namespace {

using ::testing::HasSubstr;

Object node(const std::string& name) {
  return {{"metadata",
           {{"name", name}, {"labels", {{"kubernetes.io/arch", "amd64"}, {"disk", "fast"}}}}},
          {"spec", Object::object()},
          {"status",
           {{"conditions", {{{"type", "Ready"}, {"status", "True"}}}},
            {"nodeInfo", {{"kernelVersion", "6.1.0-18-amd64"}}}}}};
}

// A pod with a claim "data" on a node-bound volume, everything in order; each case spoils one
// thing.
Observed in_order() {
  Observed observed;
  observed.migration.spec.pod_name = "db";
  observed.migration.spec.target_node = "node-b";
  observed.source_pod =
      Object{{"metadata", {{"name", "db"}, {"uid", "u1"}}},
             {"spec",
              {{"nodeName", "node-a"},
               {"containers", {{{"name", "c"}, {"image", "i"}}}},
               {"volumes",
                {{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", "data-db"}}}},
                 {{"name", "tmp"}, {"emptyDir", Object::object()}},
                 {{"name", "config"}, {"configMap", {{"name", "c"}}}}}}}}};
  observed.source_node = node("node-a");
  observed.target_node = node("node-b");
  ObservedVolume& volume = observed.volumes["data"];
  volume.claim = Object{{"metadata", {{"name", "data-db"}, {"uid", "claim"}}},
                        {"spec", {{"volumeName", "pv"}}}};
  volume.source_volume = Object{{"metadata", {{"name", "pv"}}},
                                {"spec",
                                 {{"local", {{"path", "/disks/1"}}},
                                  {"persistentVolumeReclaimPolicy", "Delete"},
                                  {"claimRef", {{"uid", "claim"}}}}}};
  volume.storage_class =
      Object{{"metadata", {{"name", "local"}}}, {"volumeBindingMode", "WaitForFirstConsumer"}};
  return observed;
}

std::string grace_warning(std::optional<int64_t> most, std::optional<int> grace,
                          api::StopMode stop = api::StopMode::kGraceful) {
  Observed observed = in_order();
  observed.migration.spec.max_downtime_seconds = most;
  observed.migration.spec.stop = stop;
  if (grace) (*observed.source_pod)["spec"]["terminationGracePeriodSeconds"] = *grace;
  for (const api::PreflightCheck& check : preflight(observed, Settings()).checks) {
    if (check.check == "GracePeriod") return check.result + ": " + check.message;
  }
  return "";
}

TEST(Preflight, WarnsOfAGracePeriodLongerThanTheDowntimeThatIsAimedAt) {
  EXPECT_THAT(grace_warning(10, 60), HasSubstr("Warning: the pod may take 60 s"));
  EXPECT_THAT(grace_warning(10, std::nullopt), HasSubstr("30 s")) << "Kubernetes' own default";
  EXPECT_EQ(grace_warning(60, 60), "");
  EXPECT_EQ(grace_warning(std::nullopt, 60), "");
  EXPECT_EQ(grace_warning(10, 60, api::StopMode::kFreeze), "") << "nobody waits for it there";
}

TEST(Preflight, PassesAPodThatCanBeMovedAndPlansItsVolumes) {
  const PreflightReport report = preflight(in_order(), Settings());
  EXPECT_TRUE(report.passed()) << report.failures();
  ASSERT_EQ(report.volumes.size(), 3U);
  EXPECT_EQ(report.volumes[0].kind, "Local");
  EXPECT_EQ(report.volumes[0].plan, api::VolumePlan::kCopy);
  EXPECT_EQ(report.volumes[0].source_path, "/disks/1");
  EXPECT_EQ(report.volumes[0].source_reclaim_policy, "Delete");
  EXPECT_EQ(report.volumes[1].plan, api::VolumePlan::kCopy);
  EXPECT_EQ(report.volumes[2].plan, api::VolumePlan::kRecreate);
}

struct Case {
  std::string name;
  std::function<void(Observed&)> spoil;
  std::string message;  // in the failed check
};

class PreflightRefuses : public ::testing::TestWithParam<Case> {};

TEST_P(PreflightRefuses, WithWhatIsWrong) {
  Observed observed = in_order();
  GetParam().spoil(observed);
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report.failures(), HasSubstr(GetParam().message));
}

void own(Observed& observed, const std::string& kind) {
  (*observed.source_pod)["metadata"]["ownerReferences"] = {
      {{"kind", kind}, {"name", "o"}, {"uid", "ou"}, {"controller", true}}};
  observed.owner_object = Object{{"metadata", {{"uid", "ou"}}}};
  observed.hold_policy = true;
}

void attach_over_the_network(Observed& observed, const std::string& access_mode) {
  (*observed.volumes["data"].source_volume)["spec"].erase("local");
  (*observed.volumes["data"].source_volume)["spec"]["nfs"] = {{"server", "s"}};
  (*observed.volumes["data"].claim)["spec"]["accessModes"] = {access_mode};
}

Object mounts(const std::string& propagation) {
  return {{{"name", "tmp"}, {"mountPath", "/tmp"}, {"mountPropagation", propagation}}};
}

void propagate_mounts(Observed& observed) {
  (*observed.source_pod)["spec"]["containers"][0]["volumeMounts"] = mounts("HostToContainer");
}

void add_init_container(Observed& observed, Object container) {
  container["name"] = "early";
  container["volumeMounts"] = mounts("Bidirectional");
  (*observed.source_pod)["spec"]["initContainers"] = {std::move(container)};
}

INSTANTIATE_TEST_SUITE_P(
    Cases, PreflightRefuses,
    ::testing::Values(
        Case{"DaemonSet", [](Observed& o) { own(o, "DaemonSet"); }, "pods of a DaemonSet"},
        Case{"StaticPod",
             [](Observed& o) {
               (*o.source_pod)["metadata"]["annotations"] = {{"kubernetes.io/config.mirror", "x"}};
             },
             "static pod"},
        Case{"NoHoldPolicy",
             [](Observed& o) {
               own(o, "StatefulSet");
               o.hold_policy = false;
             },
             "transship-hold"},
        Case{"OwnerGone",
             [](Observed& o) {
               own(o, "StatefulSet");
               o.owner_object.reset();
             },
             "does not exist any more"},
        Case{"NoTarget", [](Observed& o) { o.target_node.reset(); }, "node node-b does not exist"},
        Case{"SameNode", [](Observed& o) { o.migration.spec.target_node = "node-a"; },
             "runs on node node-a already"},
        Case{"Cordoned", [](Observed& o) { (*o.target_node)["spec"]["unschedulable"] = true; },
             "cordoned"},
        Case{"NotReady",
             [](Observed& o) { (*o.target_node)["status"]["conditions"][0]["status"] = "Unknown"; },
             "not Ready"},
        Case{"Tainted",
             [](Observed& o) {
               (*o.target_node)["spec"]["taints"] = {{{"key", "gpu"}, {"effect", "NoSchedule"}}};
             },
             "gpu:NoSchedule"},
        Case{"NodeSelector",
             [](Observed& o) {
               (*o.source_pod)["spec"]["nodeSelector"] = {{"disk", "slow"}};
             },
             "disk=slow"},
        Case{"OtherArch",
             [](Observed& o) {
               (*o.target_node)["metadata"]["labels"]["kubernetes.io/arch"] = "arm64";
             },
             "architecture"},
        Case{"UnknownVolume", [](Observed& o) { o.migration.spec.include_volumes = {"dta"}; },
             "no such volume"},
        Case{"SharedClaim", [](Observed& o) { o.volumes["data"].other_pods = {"web"}; },
             "also used by pod web"},
        Case{"SharedDiskOfOneNode",
             [](Observed& o) {
               attach_over_the_network(o, "ReadWriteOnce");
               o.volumes["data"].other_pods = {"web"};
             },
             "one node at a time"},
        Case{"MountPropagation", [](Observed& o) { propagate_mounts(o); },
             "Volume/tmp: container c mounts it with mountPropagation"},
        Case{"MountPropagationInASidecar",
             [](Observed& o) {
               add_init_container(o, {{"restartPolicy", "Always"}});
             },
             "Volume/tmp: container early mounts it with mountPropagation"},
        Case{"MountPropagationInAnEphemeralContainer",
             [](Observed& o) {
               (*o.source_pod)["spec"]["ephemeralContainers"] = {
                   {{"name", "debugger"}, {"volumeMounts", mounts("Bidirectional")}}};
             },
             "Volume/tmp: container debugger mounts it with mountPropagation"},
        Case{"OldKernel",
             [](Observed& o) {
               (*o.target_node)["status"]["nodeInfo"]["kernelVersion"] = "5.4.0-150-generic";
             },
             "node node-b has Linux 5.4.0-150-generic, and 5.12"},
        Case{"OldKernelOfTheSource",
             [](Observed& o) {
               (*o.source_node)["status"]["nodeInfo"]["kernelVersion"] = "5.11.22";
             },
             "node node-a has Linux 5.11.22, and 5.12"},
        Case{"Block",
             [](Observed& o) { (*o.volumes["data"].claim)["spec"]["volumeMode"] = "Block"; },
             "Block volume"},
        Case{"Immediate",
             [](Observed& o) {
               (*o.volumes["data"].storage_class)["volumeBindingMode"] = "Immediate";
             },
             "WaitForFirstConsumer"},
        Case{"NoClass", [](Observed& o) { o.volumes["data"].storage_class.reset(); },
             "does not exist"},
        Case{"ForeignBinding",
             [](Observed& o) {
               (*o.volumes["data"].source_volume)["spec"]["claimRef"]["uid"] = "other";
             },
             "bound to another claim"},
        Case{"HostPath",
             [](Observed& o) {
               (*o.source_pod)["spec"]["volumes"][1] = {{"name", "tmp"},
                                                        {"hostPath", {{"path", "/x"}}}};
             },
             "hostPath volume"},
        Case{"Rival", [](Observed& o) { o.rival = "other"; }, "migration other"}),
    [](const auto& suite) { return suite.param.name; });

TEST(Preflight, NamesEveryProblemAtOnce) {
  Observed observed = in_order();
  observed.target_node.reset();
  observed.volumes["data"].other_pods = {"web"};
  const std::string failures = preflight(observed, Settings()).failures();
  EXPECT_THAT(failures, HasSubstr("node-b"));
  EXPECT_THAT(failures, HasSubstr("web"));
}

TEST(Preflight, AttachesAVolumeThatTheTargetCanReach) {
  Observed observed = in_order();
  attach_over_the_network(observed, "ReadWriteMany");
  observed.volumes["data"].other_pods = {"web"};  // goes on with it where it is
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_TRUE(report.passed()) << report.failures();
  EXPECT_EQ(report.volumes[0].plan, api::VolumePlan::kReattach);
  EXPECT_FALSE(report.volumes[0].swaps_claim());
}

TEST(Preflight, SharesAClaimForOneNodeWhoseVolumeIsForMany) {
  Observed observed = in_order();
  attach_over_the_network(observed, "ReadWriteOnce");
  (*observed.volumes["data"].source_volume)["spec"]["accessModes"] = {"ReadWriteOnce",
                                                                      "ReadWriteMany"};
  observed.volumes["data"].other_pods = {"web"};
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_TRUE(report.passed()) << report.failures();
  EXPECT_EQ(report.volumes[0].plan, api::VolumePlan::kReattach);
}

TEST(Preflight, LeftOutClaimGetsAnEmptyVolumeAndLeftOutEmptyDirIsMadeAnew) {
  Observed observed = in_order();
  observed.migration.spec.exclude_volumes = {"data", "tmp"};
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_TRUE(report.passed()) << report.failures();
  EXPECT_EQ(report.volumes[0].plan, api::VolumePlan::kBlank);
  EXPECT_EQ(report.volumes[1].plan, api::VolumePlan::kRecreate);
}

TEST(Preflight, AFrozenPodsVolumesMayBeMountedWithPropagation) {
  Observed observed = in_order();
  propagate_mounts(observed);
  observed.migration.spec.stop = api::StopMode::kFreeze;
  EXPECT_TRUE(preflight(observed, Settings()).passed());
}

TEST(Preflight, MountPropagationDoesNotMatterWhereNothingIsPinned) {
  Observed left_out = in_order();
  propagate_mounts(left_out);
  left_out.migration.spec.exclude_volumes = {"tmp"};
  EXPECT_TRUE(preflight(left_out, Settings()).passed());

  Observed none = in_order();
  (*none.source_pod)["spec"]["containers"][0]["volumeMounts"] = mounts("None");
  EXPECT_TRUE(preflight(none, Settings()).passed());

  Observed ended = in_order();
  add_init_container(ended, Object::object());
  EXPECT_TRUE(preflight(ended, Settings()).passed());
}

TEST(Preflight, ArchivesOnlyToClaimsThatTheAdministratorNamed) {
  Observed observed = in_order();
  observed.migration.spec.mode = api::TransferMode::kArchive;
  observed.migration.spec.archive_claim = "tapes";
  EXPECT_THAT(preflight(observed, Settings()).failures(), HasSubstr("claim tapes is not one"));
  Settings settings;
  settings.archive_claims = {"other", "tapes"};
  EXPECT_TRUE(preflight(observed, settings).passed());
}

TEST(Preflight, KernelsAreNewEnoughFrom5_12On) {
  for (const char* version : {"5.12.0", "5.15.0-1034-aws", "6.1.0-18-amd64", "10.0"}) {
    Observed observed = in_order();
    (*observed.target_node)["status"]["nodeInfo"]["kernelVersion"] = version;
    EXPECT_TRUE(preflight(observed, Settings()).passed()) << version;
  }
}

TEST(Preflight, WarnsOfAKernelThatItCannotJudge) {
  Observed observed = in_order();
  (*observed.source_node)["status"]["nodeInfo"]["kernelVersion"] = "custom";
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_TRUE(report.passed());
  EXPECT_TRUE(std::any_of(report.checks.begin(), report.checks.end(), [](const auto& check) {
    return check.check == "Kernel" && check.result == "Warning" &&
           check.message.find("node node-a gives its kernel's version as \"custom\"") == 0;
  }));
}

TEST(Preflight, ComputesTheFreezeBudgetOfLivenessProbes) {
  Observed observed = in_order();
  observed.migration.spec.stop = api::StopMode::kFreeze;
  (*observed.source_pod)["spec"]["containers"][0]["livenessProbe"] = {
      {"httpGet", {{"port", 80}}}, {"periodSeconds", 2}, {"failureThreshold", 3}};
  const PreflightReport report = preflight(observed, Settings());
  EXPECT_TRUE(report.passed());
  EXPECT_THAT(report.checks.back().message, HasSubstr("frozen for 5 s"));
}

}  // namespace
}  // namespace transship::controller
