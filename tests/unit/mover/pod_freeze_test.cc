#include "mover/pod_freeze.h"

#include <gtest/gtest.h>

#include <thread>

#include "mover/pod_cgroups.h"
#include "runtime/pod_network.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"
#include "tests/unit/mover/networked_process.h"

namespace transship::mover {
namespace {

using api::SourceProcesses;
using std::chrono::hours;
using std::chrono::milliseconds;

const std::string kPod = unique_pod_uid("feeefeee");
const std::string kOther = unique_pod_uid("0ddf0ddf");

class PodFreezeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    SKIP_WITHOUT(pod_);
    pod_.add_process();
  }
  [[nodiscard]] SourceProcesses state() const {
    auto cgroups = PodCgroups::find("/sys/fs/cgroup", kPod);
    auto state = cgroups->state();
    return state ? *state : SourceProcesses::kUnknown;
  }
  void wait_until_it_runs() const {
    while (state() != SourceProcesses::kRunning) std::this_thread::yield();
  }
  Status freeze(milliseconds budget = milliseconds(0)) {
    return freeze_.freeze(kPod, budget, kNoDeadline);
  }

  FakeNode node_;
  FakePod pod_{"pod" + kPod};
  PodFreeze freeze_{node_.node()};
};

TEST_F(PodFreezeTest, APodThatNobodySealsGoesOnWhenItsTimeIsOver) {
  ASSERT_OK(freeze(milliseconds(200)));
  EXPECT_EQ(state(), SourceProcesses::kFrozen);
  wait_until_it_runs();
  const Status late = freeze_.seal(kPod);
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_NE(late.error().message.find("liveness probes"), std::string::npos);
}

// A request of before, that comes late: what was sent meanwhile is not what it would freeze.
TEST_F(PodFreezeTest, OnceLetGoItIsNotFrozenAgain) {
  ASSERT_OK(freeze(milliseconds(200)));
  wait_until_it_runs();
  EXPECT_EQ(freeze(milliseconds(200)).error().code, ErrorCode::kPreconditionFailed);
  EXPECT_EQ(state(), SourceProcesses::kRunning);
}

TEST_F(PodFreezeTest, SealedItStaysFrozenUntilTheControllerSaysOtherwise) {
  ASSERT_OK(freeze(milliseconds(1000)));
  ASSERT_OK(freeze_.seal(kPod));
  ASSERT_OK(freeze_.seal(kPod));  // said again, it is the same
  freeze_.end();
  // Past the budget: the watch has ended with the seal, or would have let it go by now.
  const Deadline later(std::stop_token(), milliseconds(1200));
  EXPECT_FALSE(later.wait(hours(1), "pass").ok());
  EXPECT_EQ(state(), SourceProcesses::kFrozen);
  ASSERT_OK(freeze_.thaw(kPod));
  EXPECT_EQ(state(), SourceProcesses::kRunning);
  EXPECT_FALSE(freeze_.seal(kPod).ok());
}

TEST_F(PodFreezeTest, WithoutProbesItStaysFrozenUntilTheMoverEnds) {
  ASSERT_OK(freeze());
  EXPECT_EQ(state(), SourceProcesses::kFrozen);
  freeze_.end();
  EXPECT_EQ(state(), SourceProcesses::kRunning);
}

TEST_F(PodFreezeTest, AFreezeOfAnotherMoverIsNotBelieved) {
  ASSERT_OK(freeze());
  PodFreeze anew(node_.node());
  EXPECT_EQ(anew.seal(kPod).error().code, ErrorCode::kPreconditionFailed);
  anew.end();
  EXPECT_EQ(state(), SourceProcesses::kFrozen) << "it is not this one's to let go";
  ASSERT_OK(anew.thaw(kPod));
  EXPECT_EQ(state(), SourceProcesses::kRunning);
  EXPECT_FALSE(freeze_.seal(kPod).ok()) << "it has run";
}

// A mover that dumped it was killed.
TEST_F(PodFreezeTest, APodWhoseNetworkAnotherMoverHoldsGoesOnWithIt) {
  FakePod pod("pod" + kOther);
  const NetworkedProcess process(pod);
  const auto cgroups = PodCgroups::find("/sys/fs/cgroup", kOther);
  ASSERT_OK(cgroups);
  ASSERT_OK(cgroups->freeze(kNoDeadline));
  ASSERT_OK(cgroups->freeze_apart(kNoDeadline));
  ASSERT_OK(runtime::hold_network(process.network(), ""));
  ASSERT_TRUE(process.is_held());
  PodFreeze anew(node_.node());
  ASSERT_OK(anew.thaw(kOther));
  EXPECT_FALSE(process.is_held());
  const auto state = cgroups->state();
  ASSERT_OK(state);
  EXPECT_EQ(*state, SourceProcesses::kRunning);
}

TEST_F(PodFreezeTest, WhatSomebodyElseHasLetGoIsNotSealed) {
  ASSERT_OK(freeze());
  pod_.thaw();
  EXPECT_EQ(freeze_.seal(kPod).error().code, ErrorCode::kPreconditionFailed);
}

TEST_F(PodFreezeTest, WorkEndsWithTheBudgetAndThenThePodGoesOn) {
  ASSERT_OK(freeze(milliseconds(300)));
  const Status cut = freeze_.while_frozen(
      kPod, kNoDeadline, [](const Deadline& deadline) { return deadline.wait(hours(1), "dump"); });
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().code, ErrorCode::kTimeout);
  EXPECT_NE(cut.error().message.find("failureThreshold"), std::string::npos);
  wait_until_it_runs();
}

TEST_F(PodFreezeTest, WorkThatLetsThePodGoEndsTheFreeze) {
  ASSERT_OK(freeze());
  ASSERT_OK(freeze_.while_frozen(kPod, kNoDeadline, [this](const Deadline&) -> Status {
    pod_.thaw();
    return {};
  }));
  EXPECT_FALSE(freeze_.seal(kPod).ok());
  EXPECT_FALSE(freeze().ok());
}

TEST_F(PodFreezeTest, NothingIsDoneToAPodThatIsNotFrozenOrIsSealed) {
  const auto work = [](const Deadline&) -> Status {
    ADD_FAILURE() << "it was done";
    return {};
  };
  EXPECT_FALSE(freeze_.while_frozen(kPod, kNoDeadline, work).ok());
  ASSERT_OK(freeze());
  ASSERT_OK(freeze_.seal(kPod));
  EXPECT_FALSE(freeze_.while_frozen(kPod, kNoDeadline, work).ok());
}

TEST_F(PodFreezeTest, AThawThatComesFirstForbidsTheFreeze) {
  ASSERT_OK(freeze_.thaw(kPod));
  EXPECT_FALSE(freeze().ok());
  EXPECT_EQ(state(), SourceProcesses::kRunning);
}

TEST_F(PodFreezeTest, BrieflyFrozenItGoesOnWhateverCameOfIt) {
  for (const bool fails : {false, true}) {
    const Status done =
        freeze_.briefly(kPod, milliseconds(0), kNoDeadline, [&](const Deadline&) -> Status {
          EXPECT_EQ(state(), SourceProcesses::kFrozen);
          if (fails) return Error{ErrorCode::kInternal, "no"};
          return {};
        });
    EXPECT_EQ(done.ok(), !fails);
    EXPECT_EQ(state(), SourceProcesses::kRunning);
  }
  ASSERT_OK(freeze());  // the other was none that counts
}

}  // namespace
}  // namespace transship::mover
