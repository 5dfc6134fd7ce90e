#include "mover/pod_cgroups.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"

namespace transship::mover {
namespace {

using api::SourceProcesses;

constexpr const char* kRoot = "/sys/fs/cgroup";

std::string uid(int test) {
  return "0a1b2c3d-0000-4000-8000-" + std::to_string(100000000000 + ::getpid() * 100L + test);
}

SourceProcesses state_of(const std::string& pod_uid) {
  auto pod = PodCgroups::find(kRoot, pod_uid);
  EXPECT_TRUE(pod.ok());
  auto state = pod->state();
  EXPECT_TRUE(state.ok());
  return *state;
}

TEST(PodCgroupsTest, APodWithoutCgroupIsDead) {
  FakePod other("pod" + uid(1));
  SKIP_WITHOUT(other);
  EXPECT_EQ(state_of(uid(2)), SourceProcesses::kNone);
}

TEST(PodCgroupsTest, ACgroupTreeThatCannotBeReadSaysNothing) {
  EXPECT_FALSE(PodCgroups::find("/proc/self/fdinfo", uid(1)).ok());
  EXPECT_FALSE(PodCgroups::find("/nowhere", uid(1)).ok());
}

TEST(PodCgroupsTest, AnEmptyCgroupIsDeadAndOneWithAProcessRuns) {
  FakePod pod("pod" + uid(3));
  SKIP_WITHOUT(pod);
  EXPECT_EQ(state_of(uid(3)), SourceProcesses::kNone);
  pod.add_process();
  EXPECT_EQ(state_of(uid(3)), SourceProcesses::kRunning);
}

TEST(PodCgroupsTest, FindsThePodByTheNameThatTheSystemdDriverGives) {
  std::string name = "kubepods-burstable-pod" + uid(4) + ".slice";
  std::replace(name.begin() + 22, name.end(), '-', '_');
  FakePod pod(name);
  SKIP_WITHOUT(pod);
  pod.add_process();
  EXPECT_EQ(state_of(uid(4)), SourceProcesses::kRunning);
}

TEST(PodCgroupsTest, FreezesAndThawsAndBothMayBeRepeated) {
  FakePod pod("pod" + uid(5));
  SKIP_WITHOUT(pod);
  pod.add_process();
  auto cgroups = PodCgroups::find(kRoot, uid(5));
  ASSERT_OK(cgroups);
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(cgroups->freeze(kNoDeadline));
    EXPECT_EQ(state_of(uid(5)), SourceProcesses::kFrozen);
  }
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(cgroups->thaw());
    EXPECT_EQ(state_of(uid(5)), SourceProcesses::kRunning);
  }
}

TEST(PodCgroupsTest, FreezingAPodThatIsNotThereIsNotFound) {
  FakePod other("pod" + uid(6));
  SKIP_WITHOUT(other);
  auto cgroups = PodCgroups::find(kRoot, uid(7));
  ASSERT_OK(cgroups);
  const Status frozen = cgroups->freeze(kNoDeadline);
  ASSERT_FALSE(frozen.ok());
  EXPECT_EQ(frozen.error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(cgroups->thaw().ok());
}

TEST(PodCgroupsTest, ACancelledFreezeLeavesThePodRunning) {
  FakePod pod("pod" + uid(8));
  SKIP_WITHOUT(pod);
  pod.add_process();
  auto cgroups = PodCgroups::find(kRoot, uid(8));
  ASSERT_OK(cgroups);
  std::stop_source stop;
  stop.request_stop();
  // It may have been frozen before the first look at the deadline; otherwise it runs again.
  const Status frozen = cgroups->freeze(Deadline(stop.get_token(), std::chrono::milliseconds(0)));
  EXPECT_EQ(state_of(uid(8)), frozen.ok() ? SourceProcesses::kFrozen : SourceProcesses::kRunning);
}

TEST(PodCgroupsTest, KillsAFrozenPodAndNobodyElse) {
  FakePod pod("pod" + uid(9));
  SKIP_WITHOUT(pod);
  IdleProcess& first = pod.add_process();
  IdleProcess& second = pod.add_process();
  IdleProcess stranger;
  auto cgroups = PodCgroups::find(kRoot, uid(9));
  ASSERT_OK(cgroups);
  pod.freeze_container();
  ASSERT_OK(cgroups->freeze(kNoDeadline));
  ASSERT_OK(cgroups->kill(kNoDeadline));
  EXPECT_EQ(first.end(), SIGKILL);
  EXPECT_EQ(second.end(), SIGKILL);
  EXPECT_TRUE(stranger.alive());
  EXPECT_EQ(state_of(uid(9)), SourceProcesses::kNone);
  EXPECT_TRUE(cgroups->kill(kNoDeadline).ok());
  // What a kubelet starts that has not heard of its end does not run, and goes, too.
  IdleProcess& anew = pod.add_process();
  EXPECT_EQ(state_of(uid(9)), SourceProcesses::kFrozen);
  ASSERT_OK(cgroups->kill(kNoDeadline));
  EXPECT_EQ(anew.end(), SIGKILL);
}

TEST(PodCgroupsTest, FreezesEachContainerByItselfAndTogetherAgainAndNothingRunsMeanwhile) {
  FakePod pod("pod" + uid(10));
  SKIP_WITHOUT(pod);
  pod.add_process();
  auto cgroups = PodCgroups::find(kRoot, uid(10));
  ASSERT_OK(cgroups);
  EXPECT_EQ(cgroups->freeze_apart(kNoDeadline).error().code, ErrorCode::kPreconditionFailed)
      << "it runs";
  ASSERT_OK(cgroups->freeze(kNoDeadline));
  ASSERT_OK(cgroups->freeze_apart(kNoDeadline));
  EXPECT_EQ(state_of(uid(10)), SourceProcesses::kFrozen);
  pod.thaw_container();
  EXPECT_EQ(state_of(uid(10)), SourceProcesses::kRunning) << "one container is let go alone";
  ASSERT_OK(cgroups->freeze_together(kNoDeadline));
  EXPECT_EQ(state_of(uid(10)), SourceProcesses::kFrozen);
  pod.thaw_container();
  EXPECT_EQ(state_of(uid(10)), SourceProcesses::kFrozen) << "the pod's own cgroup holds it";
}

// Of a process that is on its way into the freezer, the order is there before it is frozen.
TEST(PodCgroupsTest, IsHeldWhereEveryContainerIsOrderedToStop) {
  FakePod pod("pod" + uid(15));
  SKIP_WITHOUT(pod);
  pod.add_process();
  auto cgroups = PodCgroups::find(kRoot, uid(15));
  ASSERT_OK(cgroups);
  EXPECT_FALSE(cgroups->is_held().value());
  pod.freeze_container();
  EXPECT_TRUE(cgroups->is_held().value());
  pod.thaw_container();
  EXPECT_FALSE(cgroups->is_held().value());
  ASSERT_OK(cgroups->freeze(kNoDeadline));
  EXPECT_TRUE(cgroups->is_held().value());
}

TEST(PodCgroupsTest, ThawsWhatWasFrozenApart) {
  FakePod pod("pod" + uid(11));
  SKIP_WITHOUT(pod);
  pod.add_process();
  auto cgroups = PodCgroups::find(kRoot, uid(11));
  ASSERT_OK(cgroups);
  ASSERT_OK(cgroups->freeze(kNoDeadline));
  ASSERT_OK(cgroups->freeze_apart(kNoDeadline));
  ASSERT_OK(cgroups->thaw());
  EXPECT_EQ(state_of(uid(11)), SourceProcesses::kRunning);
}

TEST(PodCgroupsTest, FindsTheProcessesOfOneContainer) {
  FakePod pod("pod" + uid(12));
  SKIP_WITHOUT(pod);
  const IdleProcess& process = pod.add_process();
  auto cgroups = PodCgroups::find(kRoot, uid(12));
  ASSERT_OK(cgroups);
  auto found = cgroups->processes_of("container");
  ASSERT_OK(found);
  EXPECT_EQ(*found, std::vector<int>{process.pid()});
  auto other = cgroups->processes_of("other");
  ASSERT_OK(other);
  EXPECT_TRUE(other->empty());
}

}  // namespace
}  // namespace transship::mover
