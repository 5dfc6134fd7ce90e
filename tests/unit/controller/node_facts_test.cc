// Two nodes as their installers' pods have found them, and whether memory can go from one to the
// other.
#include "controller/node_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/preflight.h"

namespace transship::controller {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Object facts() {
  return {{"version", "0.1.0"},
          {"kernel", "6.18.1"},
          {"cgroups", 2},
          {"cpu", "Some CPU"},
          {"cpuFeatures", "avx2 fpu sse2"},
          {"xsaveBytes", 832},
          {"containerd", "2.1.4"},
          {"runc", "1.3.6"},
          {"criu", "4.2.1"},
          {"problem", ""}};
}

Object pod(const char* node, const std::string& message, const char* state = "state") {
  return {{"metadata", {{"name", std::string("runtime-") + node}}},
          {"spec", {{"nodeName", node}, {"containers", {{{"args", {"install"}}}}}}},
          {"status",
           {{"conditions", {{{"type", "Ready"}, {"status", "True"}}}},
            {"initContainerStatuses",
             {{{"name", "inspect"}, {state, {{"terminated", {{"message", message}}}}}}}}}}};
}

// From node-a, which has the usual facts, to node-b, which has `changed`.
NodeDifferences differences(const char* key, const Object& changed, bool at_source = false) {
  Object other = facts();
  other[key] = changed;
  const Object here = at_source ? other : facts();
  const Object there = at_source ? facts() : other;
  return compare_nodes({pod("node-a", here.dump()), pod("node-b", there.dump())}, "node-a",
                       "node-b");
}

TEST(NodeFacts, AreTheLastWordsOfTheContainerThatLooked) {
  const auto found = facts_of(pod("node-a", facts().dump()));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->kernel, "6.18.1");
  EXPECT_EQ(found->cgroups, 2);
  EXPECT_EQ(found->criu, "4.2.1");
  EXPECT_THAT(found->features, ElementsAre("avx2", "fpu", "sse2"));
  // It is tried again: what it said the last time.
  EXPECT_TRUE(facts_of(pod("node-a", facts().dump(), "lastState")));
  for (const char* nonsense : {"", "cannot enter the node", "[1]", "{}", R"({"kernel": 5})"})
    EXPECT_FALSE(facts_of(pod("node-a", nonsense))) << nonsense;
  Object strange = facts();
  strange["xsaveBytes"] = "many";
  strange["cpuFeatures"] = 7;
  EXPECT_EQ(facts_of(pod("node-a", strange.dump()))->xsave_bytes, 0);
}

TEST(NodeFacts, OfANodeAreThoseOfThePodThatStays) {
  Object going = facts();
  going["criu"] = "4.0";
  std::vector<Object> pods = {pod("node-a", facts().dump()), pod("node-a", going.dump())};
  pods[1]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_EQ(facts_of(pods, "node-a")->criu, "4.2.1");
  std::swap(pods[0], pods[1]);
  EXPECT_EQ(facts_of(pods, "node-a")->criu, "4.2.1");
  EXPECT_FALSE(facts_of(pods, "node-b"));
}

TEST(NodeDifferences, ThereAreNoneBetweenEquals) {
  const NodeDifferences none = differences("cpu", "Another CPU with the same features");
  EXPECT_EQ(none.fatal + none.risky, "");
}

TEST(NodeDifferences, ProcessorsNeedAllThatThoseOfTheSourceHave) {
  EXPECT_THAT(differences("cpuFeatures", "fpu sse2").fatal,
              AllOf(HasSubstr("node node-b (Some CPU) lack avx2, which those of node-a"),
                    HasSubstr("choose a node")));
  EXPECT_EQ(differences("cpuFeatures", "avx2 avx512f fpu sse2").fatal, "");
  EXPECT_THAT(differences("cpuFeatures", "avx2 fpu sse2 a b c d e f g h i j", true).fatal,
              HasSubstr(" a b c d e f g h and 2 more"));
  EXPECT_THAT(differences("xsaveBytes", 576).fatal, HasSubstr("832 bytes of registers"));
  EXPECT_EQ(differences("xsaveBytes", 2432).fatal, "");
  EXPECT_EQ(differences("xsaveBytes", 0).fatal, "") << "not known";
}

TEST(NodeDifferences, ControlGroupsAreOfOneVersion) {
  EXPECT_THAT(differences("cgroups", 1).fatal, HasSubstr("version 2 and node-b of version 1"));
}

TEST(NodeDifferences, AnOlderCriuMayNotKnowWhatANewerOneWrites) {
  EXPECT_THAT(differences("criu", "4.1.9").fatal, HasSubstr("install the newer one"));
  EXPECT_THAT(differences("criu", "3.19").fatal, HasSubstr("4.2.1"));
  EXPECT_EQ(differences("criu", "4.2").fatal, "");
  EXPECT_EQ(differences("criu", "5.0").fatal, "");
}

TEST(NodeDifferences, OtherVersionsAreARiskThatIsSaid) {
  EXPECT_THAT(differences("runc", "1.2.9").risky, HasSubstr("runc is 1.3.6"));
  EXPECT_EQ(differences("runc", "1.3.9").risky, "");
  EXPECT_THAT(differences("kernel", "6.6.1").risky, HasSubstr("may use what the older one lacks"));
  EXPECT_EQ(differences("kernel", "6.19.1").risky, "");
  EXPECT_EQ(differences("runc", "1.2.9").fatal, "");
}

TEST(NodeDifferences, OfNodesThatNobodyLookedAtAreARisk) {
  const std::vector<Object> pods = {pod("node-b", facts().dump())};
  EXPECT_THAT(compare_nodes(pods, "node-a", "node-b").risky,
              HasSubstr("node node-a has no transship-runtime"));
  EXPECT_EQ(nodes_check(pods, "node-a", "node-b").result, "Warning");
}

TEST(UnsuitableNodes, AreThoseThatAreNotReadyAndForMemoryThoseThatDiffer) {
  Object lacking = facts();
  lacking["cpuFeatures"] = "fpu";
  std::vector<Object> pods = {pod("node-a", facts().dump()), pod("node-b", lacking.dump()),
                              pod("node-c", facts().dump()), pod("node-d", facts().dump())};
  pods[3]["status"]["conditions"][0]["status"] = "False";
  EXPECT_THAT(unsuitable_nodes(pods, "node-a", true), ElementsAre("node-d", "node-b"));
  EXPECT_THAT(unsuitable_nodes(pods, "node-a", false), ElementsAre("node-d"));
  EXPECT_THAT(unsuitable_nodes({}, "node-a", true), IsEmpty());
}

}  // namespace
}  // namespace transship::controller
