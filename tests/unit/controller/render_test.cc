#include "controller/render/render.h"

#include <gtest/gtest.h>

#include "controller/names.h"

namespace transship::controller {
namespace {

api::Migration migration() {
  api::Migration out;
  out.namespace_name = "shop";
  out.name = "move-db";
  out.uid = "11111111-2222-3333-4444-555555555555";
  out.spec.target_node = "node-b";
  out.status.epoch = 1;
  out.status.attempts = 1;
  out.status.source = {"node-a", "db", "pod-uid"};
  out.status.target.node = "node-b";
  return out;
}

Settings settings() {
  Settings out;
  out.mover_image = "transship:1";
  return out;
}

Object pod() {
  return {
      {"metadata",
       {{"name", "db"},
        {"namespace", "shop"},
        {"uid", "pod-uid"},
        {"labels", {{"app", "db"}}},
        {"annotations", {{kLock, "m"}, {"note", "x"}}}}},
      {"spec",
       {{"nodeName", "node-a"},
        {"priority", 5},
        {"priorityClassName", "high"},
        {"tolerations", {{{"key", "k"}, {"operator", "Exists"}}}},
        {"initContainers",
         {{{"name", kGate}},
          {{"name", "prepare"}, {"resources", {{"limits", {{"cpu", "1"}, {"memory", "1Gi"}}}}}}}},
        {"containers",
         {{{"name", "c"}, {"resources", {{"limits", {{"cpu", "1"}, {"memory", "1Gi"}}}}}}}},
        {"volumes",
         {{{"name", kGate}, {"emptyDir", Object::object()}},
          {{"name", "d"}, {"emptyDir", Object::object()}}}},
        {"affinity",
         {{"nodeAffinity",
           {{"requiredDuringSchedulingIgnoredDuringExecution",
             {{"nodeSelectorTerms",
               {{{"matchExpressions", {{{"key", "disk"}, {"operator", "Exists"}}}},
                 {"matchFields",
                  {{{"key", "metadata.name"},
                    {"operator", "In"},
                    {"values", {"node-a"}}}}}}}}}}}}}}}}};
}

const Object& terms_of(const Object& made) {
  return list_at(made, {"spec", "affinity", "nodeAffinity",
                        "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
}

TEST(MoverJob, IsPinnedToItsNodeAndHasNoTokenAndOnlyItsOwnKey) {
  const Object job =
      render::mover_job(migration(), settings(), api::MoverRole::kReceiver, "node-b");
  EXPECT_EQ(name_of(job), "transship-11111111-2222-3333-4444-555555555555-receiver-1");
  EXPECT_LE(name_of(job).size(), 63U);
  const Object& spec = at(job, {"spec", "template", "spec"});
  EXPECT_EQ(spec["nodeName"], "node-b");
  EXPECT_EQ(spec["automountServiceAccountToken"], false);
  EXPECT_EQ(spec["containers"][0]["volumeMounts"][1]["mountPropagation"], "Bidirectional");
  EXPECT_EQ(spec["volumes"][0]["secret"]["items"][2]["key"], "receiver.key");
  EXPECT_EQ(job["spec"]["backoffLimit"], 0);
}

TEST(MoverJob, MountsTheArchiveClaimOnlyInArchiveMode) {
  api::Migration archive = migration();
  EXPECT_EQ(render::mover_job(archive, settings(), api::MoverRole::kSender,
                              "n")["spec"]["template"]["spec"]["volumes"]
                .size(),
            3U);
  archive.spec.mode = api::TransferMode::kArchive;
  archive.spec.archive_claim = "tapes";
  const Object job = render::mover_job(archive, settings(), api::MoverRole::kSender, "n");
  EXPECT_EQ(job["spec"]["template"]["spec"]["volumes"][3]["persistentVolumeClaim"]["claimName"],
            "tapes");
}

TEST(ReservationPod, AsksForTheSameRoomAnywhereButOnTheSource) {
  api::Migration free = migration();
  free.spec.target_node.clear();
  const Object made = render::reservation_pod(free, settings(), pod(), true);
  EXPECT_EQ(made["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
  EXPECT_EQ(terms_of(made)[0]["matchFields"][0]["operator"], "NotIn");
  EXPECT_EQ(terms_of(made)[0]["matchFields"][0]["values"][0], "node-a");
  EXPECT_EQ(terms_of(made)[0]["matchExpressions"][0]["key"], "disk");
  EXPECT_EQ(made["spec"]["tolerations"][0]["key"], "k");
}

TEST(ReservationPod, HasThePodsImagesAndRunsNothingOfThem) {
  api::Migration restoring = migration();
  restoring.spec.layer = true;
  Object source = pod();
  source["spec"]["containers"][0]["image"] = "redis:8";
  source["spec"]["containers"][0]["imagePullPolicy"] = "Always";
  source["spec"]["initContainers"].push_back(
      {{"name", "proxy"}, {"image", "proxy:1"}, {"restartPolicy", "Always"}});
  const Object made = render::reservation_pod(restoring, settings(), source, false);
  EXPECT_EQ(made["spec"]["runtimeClassName"], kRuntimeClassName);
  const Object& programs = made["spec"]["initContainers"];
  ASSERT_EQ(programs.size(), 1U);
  EXPECT_EQ(programs[0]["image"], "transship:1");
  const Object& containers = made["spec"]["containers"];
  ASSERT_EQ(containers.size(), 2U);
  EXPECT_EQ(containers[0]["image"], "proxy:1");
  EXPECT_EQ(containers[1]["image"], "redis:8");
  EXPECT_EQ(containers[1]["imagePullPolicy"], "Always");
  EXPECT_EQ(containers[1]["resources"]["limits"]["cpu"], "1");
  for (const Object& container : containers) {
    EXPECT_EQ(container["command"][0], "/transship/transship-runtime");
    EXPECT_EQ(container["volumeMounts"][0]["mountPath"], "/transship");
    EXPECT_EQ(container["securityContext"]["runAsNonRoot"], true);
  }
}

TEST(ReservationPod, GoesWhereTheRuntimeIsAndReady) {
  api::Migration restoring = migration();
  restoring.spec.target_node.clear();
  const auto affinity = [&] {
    return render::reservation_pod(restoring, settings(), pod(), true,
                                   {"node-c"})["spec"]["affinity"];
  };
  EXPECT_EQ(affinity().dump().find("node-c"), std::string::npos) << "volumes alone";
  EXPECT_FALSE(affinity().contains("podAffinity"));
  restoring.spec.layer = true;
  const Object fields = affinity()["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                                  ["nodeSelectorTerms"][0]["matchFields"];
  ASSERT_EQ(fields.size(), 2U);
  EXPECT_EQ(fields[1]["operator"], "NotIn");
  EXPECT_EQ(fields[1]["values"], Object::array({"node-c"}));
  EXPECT_TRUE(affinity().contains("podAffinity"));
  // Who names a node has it judged by preflight.
  restoring.spec.target_node = "node-c";
  EXPECT_EQ(affinity()["nodeAffinity"].dump().find("NotIn"), std::string::npos);
}

TEST(StagingClaim, IsUnboundAsLargeAsTheVolumeReallyIsAndKeepsOnlyTheUsersAnnotations) {
  const Object claim = {
      {"metadata",
       {{"name", "data"},
        {"annotations", {{"pv.kubernetes.io/bind-completed", "yes"}, {"volumeType", "local"}}}}},
      {"spec",
       {{"accessModes", {"ReadWriteOnce"}},
        {"storageClassName", "local-path"},
        {"volumeName", "old"},
        {"resources", {{"requests", {{"storage", "1Gi"}}}}}}},
      {"status", {{"capacity", {{"storage", "2Gi"}}}}}};
  const Object made = render::staging_claim(migration(), settings(), "data", claim);
  EXPECT_FALSE(made["spec"].contains("volumeName"));
  EXPECT_EQ(made["spec"]["resources"]["requests"]["storage"], "2Gi");
  EXPECT_EQ(made["metadata"]["annotations"]["volumeType"], "local");
  EXPECT_FALSE(made["metadata"]["annotations"].contains("pv.kubernetes.io/bind-completed"));
}

TEST(ReplacementPod, IsTheSamePodOnTheTarget) {
  const Object made =
      render::replacement_pod(migration(), settings(), pod(), "node-b", false, false);
  EXPECT_EQ(name_of(made), "db");
  EXPECT_EQ(made["metadata"]["labels"]["app"], "db");
  EXPECT_EQ(made["metadata"]["annotations"]["note"], "x");
  EXPECT_FALSE(made["metadata"].contains("uid"));
  for (const char* stripped : {"nodeName", "priority", "schedulingGates"})
    EXPECT_FALSE(made["spec"].contains(stripped)) << stripped;
  EXPECT_EQ(made["spec"]["priorityClassName"], "high");
  EXPECT_EQ(terms_of(made)[0]["matchFields"][0]["values"][0], "node-b")
      << "an earlier migration's pin is replaced";
  EXPECT_EQ(made["spec"]["initContainers"].size(), 1U) << "an earlier migration's gate is gone";
}

TEST(ReplacementPod, PutsTheGateBeforeEveryInitContainerAndKeepsThePodGuaranteed) {
  const Object made = render::replacement_pod(migration(), settings(), pod(), "node-b", true, true);
  EXPECT_EQ(made["spec"]["initContainers"][0]["name"], kGate);
  EXPECT_EQ(made["spec"]["initContainers"][1]["name"], "prepare");
  EXPECT_EQ(made["spec"]["schedulingGates"][0]["name"], kSchedulingGate);
  EXPECT_EQ(made["spec"]["initContainers"][0]["resources"]["limits"],
            made["spec"]["initContainers"][0]["resources"]["requests"]);
}

TEST(ReleaseToNode, TakesOnlyOurGateAway) {
  Object held = pod();
  held["spec"]["schedulingGates"] = {{{"name", "other/gate"}}, {{"name", kSchedulingGate}}};
  const Object patch = render::release_to_node(held, "node-b");
  ASSERT_EQ(patch["spec"]["schedulingGates"].size(), 1U);
  EXPECT_EQ(patch["spec"]["schedulingGates"][0]["name"], "other/gate");
}

TEST(PodSecret, KeepsThePodWithoutOurMarks) {
  const Object secret = render::pod_secret(migration(), settings(), pod(),
                                           {{"data", Object{{"metadata", {{"name", "c"}}}}}});
  const Object saved = Object::parse(secret["stringData"]["pod.json"].get<std::string>());
  EXPECT_FALSE(saved["metadata"]["annotations"].contains(kLock));
  EXPECT_FALSE(saved["spec"].contains("nodeName"));
  EXPECT_EQ(Object::parse(
                secret["stringData"]["claims.json"].get<std::string>())["data"]["metadata"]["name"],
            "c");
}

}  // namespace
}  // namespace transship::controller
