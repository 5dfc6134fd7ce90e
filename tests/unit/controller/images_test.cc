// What kubelet says of the images of a pod on the source, and of the reservation pod on the target.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/steps.h"

namespace transship::controller {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kOne = "docker.io/library/redis@sha256:1";
constexpr const char* kOther = "docker.io/library/redis@sha256:2";

struct Pods {
  Observed observed;
  Settings settings;

  Pods(const std::string& image, const Object& there) {
    api::Migration& migration = observed.migration;
    migration.spec.layer = true;
    migration.status.source.node = "node-a";
    migration.status.target.node = "node-b";
    api::Condition& validated = migration.status.conditions.emplace_back();
    validated.type = api::condition::kValidated;
    validated.status = "True";
    validated.last_transition_time = "2026-01-01T00:00:00Z";
    observed.source_pod =
        Object{{"spec", {{"containers", {{{"name", "web"}, {"image", image}}}}}},
               {"status", {{"containerStatuses", {{{"name", "web"}, {"imageID", kOne}}}}}}};
    Object status = there;
    status["name"] = "reserve-0";
    observed.reservation = Object{{"status", {{"containerStatuses", Object::array({status})}}}};
  }

  // "go on", or "REASON: message" of what it waits for or has failed of.
  std::string outcome(const char* now = "2026-01-01T00:00:01Z") {
    Context context{observed, settings, *parse_time(now), observed.migration.status};
    const Step step = compare_images(context);
    if (!step) return "go on";
    const api::Condition* prepared = step->status.find(api::condition::kPrepared);
    return (step->status.rollback ? "failed " : "waits ") + prepared->reason + ": " +
           prepared->message;
  }
};

Object has(const char* image_id) { return {{"imageID", image_id}}; }

Object waits(const char* reason) {
  return {{"imageID", ""}, {"state", {{"waiting", {{"reason", reason}, {"message", "why"}}}}}};
}

TEST(Images, AreTheSameWhereTheirDigestsAre) {
  EXPECT_EQ(Pods("redis:8", has(kOne)).outcome(), "go on");
  EXPECT_EQ(Pods("redis", has("mirror.example/redis@sha256:1")).outcome(), "go on");
}

TEST(Images, ThatDifferAreRefusedWithBothDigestsAndWhatToDo) {
  EXPECT_THAT(Pods("redis:8", has(kOther)).outcome(),
              AllOf(HasSubstr("failed ImageDiffers: container web: its image redis:8 is "
                              "docker.io/library/redis@sha256:1 on node-a and "
                              "docker.io/library/redis@sha256:2 on node-b"),
                    HasSubstr("(redis@sha256:1)")));
  EXPECT_THAT(Pods("host:5000/redis", has(kOther)).outcome(),
              HasSubstr("(host:5000/redis@sha256:1)"));
}

TEST(Images, WithoutARegistryAreComparedAsTheyAre) {
  Pods pods("redis:8", has("sha256:2"));
  (*pods.observed.source_pod)["status"]["containerStatuses"][0]["imageID"] = "sha256:1";
  EXPECT_THAT(pods.outcome(),
              AllOf(HasSubstr("ImageDiffers"), HasSubstr("have the very same image on node-b")));
  pods.observed.reservation->at("status")["containerStatuses"][0]["imageID"] = "sha256:1";
  EXPECT_EQ(pods.outcome(), "go on");
}

TEST(Images, AreWaitedForWhileTheyArePulled) {
  for (const char* reason : {"ContainerCreating", "PodInitializing", "ErrImagePull"})
    EXPECT_THAT(Pods("redis:8", waits(reason)).outcome(), HasSubstr("waits PullingImages"))
        << reason;
  Pods pods("redis:8", Object::object());
  pods.observed.reservation = Object::object();  // kubelet has not seen it yet
  EXPECT_THAT(pods.outcome(), HasSubstr("waits PullingImages"));
  EXPECT_THAT(pods.outcome("2026-01-01T00:10:01Z"), HasSubstr("failed PrepareTimeout"));
}

TEST(Images, ThatCannotBePulledAreUnknownUnlessADigestNamesThem) {
  for (const char* reason : {"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}) {
    EXPECT_THAT(Pods("redis:8", waits(reason)).outcome(),
                AllOf(HasSubstr("failed ImageUnknown"), HasSubstr(reason), HasSubstr("why"),
                      HasSubstr("(redis@sha256:1)")));
    EXPECT_EQ(Pods("redis:8@sha256:1", waits(reason)).outcome(), "go on");
  }
}

TEST(Images, AreOfNoInterestWhereOnlyVolumesGoAlong) {
  Pods pods("redis:8", has(kOther));
  pods.observed.migration.spec.layer = false;
  EXPECT_EQ(pods.outcome(), "go on");
}

TEST(Images, OfEveryContainerAreCompared) {
  Pods pods("redis:8", has(kOne));
  Object& pod = *pods.observed.source_pod;
  pod["spec"]["initContainers"] = {
      {{"name", "prepare"}, {"image", "tool:1"}},
      {{"name", "proxy"}, {"image", "p:1"}, {"restartPolicy", "Always"}}};
  pod["status"]["initContainerStatuses"] = {{{"name", "proxy"}, {"imageID", "p@sha256:5"}}};
  pods.observed.reservation->at("status")["containerStatuses"] = {
      {{"name", "reserve-0"}, {"imageID", "p@sha256:5"}},
      {{"name", "reserve-1"}, {"imageID", kOther}}};
  EXPECT_THAT(pods.outcome(), HasSubstr("ImageDiffers: container web"));
}

}  // namespace
}  // namespace transship::controller
