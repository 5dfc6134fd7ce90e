// The TransshipNodes, as they follow the installer's pods.
#include "controller/node_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/objects.h"
#include "tests/scenarios/world.h"

namespace transship::testing {
namespace {

using controller::text_at;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Published {
  World world;
  controller::Settings settings;
  controller::NodeRecords records{world, settings};

  Object& pod() { return *world.find(Kind::kPod, "transship-system", "transship-runtime-node-b"); }
  void say(const Object& facts) {
    pod()["status"]["initContainerStatuses"] = {
        {{"name", "inspect"}, {"state", {{"terminated", {{"message", facts.dump()}}}}}}};
  }
  Object record() {
    const Object* found = world.find(Kind::kTransshipNode, "", "node-b");
    return found == nullptr ? Object() : *found;
  }
  bool again() {
    const auto done = records.reconcile("node-b");
    EXPECT_TRUE(done.ok());
    return done.ok() && done->has_value();
  }
};

const Object kFacts = {{"version", "0.1.0"}, {"kernel", "6.18.1"},        {"cgroups", 2},
                       {"cpu", "Some CPU"},  {"cpuFeatures", "avx2 fpu"}, {"criu", "4.2.1"},
                       {"problem", ""}};

TEST(NodeRecords, SayWhatWasFoundOfANodeAndGoWithIt) {
  Published cluster;
  cluster.say(kFacts);
  EXPECT_FALSE(cluster.again());
  const Object record = cluster.record();
  EXPECT_EQ(record["metadata"]["ownerReferences"][0]["uid"], "node-b");
  const Object& status = record["status"];
  EXPECT_EQ(status["ready"], true);
  EXPECT_EQ(status["selfTest"], "Passed");
  EXPECT_EQ(status["criuVersion"], "4.2.1");
  EXPECT_EQ(status["cgroupVersion"], 2);
  EXPECT_EQ(status["cpuFeatures"], Object::array({"avx2", "fpu"}));
  EXPECT_THAT(*cluster.records.names(), ElementsAre("node-b"));
}

TEST(NodeRecords, FollowThePodAndAreNotWrittenWhereNothingChanged) {
  Published cluster;
  cluster.again();
  EXPECT_EQ(cluster.record()["status"]["selfTest"], "Unknown");
  Object facts = kFacts;
  facts["problem"] = "self-test: it cannot";
  cluster.say(facts);
  cluster.pod()["status"]["conditions"][0]["status"] = "False";
  cluster.again();
  EXPECT_EQ(cluster.record()["status"]["ready"], false);
  EXPECT_EQ(cluster.record()["status"]["selfTest"], "Failed");
  const int writes = cluster.world.writes;
  cluster.again();
  EXPECT_EQ(cluster.world.writes, writes);
}

TEST(NodeRecords, OfANodeThatLostThePodGoAfterAWhile) {
  Published cluster;
  cluster.say(kFacts);
  cluster.again();
  cluster.pod()["spec"]["nodeName"] = "";
  EXPECT_TRUE(cluster.again()) << "an update takes one pod away before the next one comes";
  EXPECT_EQ(cluster.record()["status"]["ready"], false);
  EXPECT_THAT(text_at(cluster.record(), {"status", "message"}), HasSubstr("is gone"));
  cluster.pod()["spec"]["nodeName"] = "node-b";
  cluster.again();
  EXPECT_EQ(cluster.record()["status"]["ready"], true);
  cluster.pod()["spec"]["nodeName"] = "";
  cluster.again();
  EXPECT_FALSE(cluster.again());
  EXPECT_TRUE(cluster.record().is_null());
}

TEST(NodeRecords, OfANodeThatIsNotThereAreNotMade) {
  Published cluster;
  cluster.pod()["spec"]["nodeName"] = "node-z";
  EXPECT_FALSE(cluster.records.reconcile("node-z")->has_value());
  EXPECT_EQ(cluster.world.find(Kind::kTransshipNode, "", "node-z"), nullptr);
}

}  // namespace
}  // namespace transship::testing
