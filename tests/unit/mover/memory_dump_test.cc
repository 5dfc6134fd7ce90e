#include "mover/memory_dump.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "mover/node_command.h"
#include "mover/trial_dump.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/fake_pod.h"
#include "tests/unit/mover/networked_process.h"

namespace transship::mover {
namespace {

// Of this process: what one test ends is not to be another's.
const std::string kMigration = unique_pod_uid("77777777");
const std::string kPod = unique_pod_uid("dddddddd");
const std::string kMark = "dump." + kMigration;

// A node whose runc is a script of the test's: /opt is one of its own.
class MemoryDumpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(node_);
    SKIP_WITHOUT(pod_);
    if (::mount("tmpfs", "/opt", "tmpfs", 0, "size=1m") != 0)
      GTEST_SKIP() << "/opt cannot be covered";
    covered_ = true;
    pod_.add_process();
  }
  void TearDown() override {
    if (covered_) ::umount2("/opt", MNT_DETACH);
  }

  // `script` has the images' directory as $images, the working one as $work, the container as $id.
  static void install_runc(const std::string& script) {
    const fs::path runc = "/opt/transship/bin/runc";
    write_text(
        runc,
        "#!/bin/sh\n"
        "while test $# -gt 1; do case $1 in --image-path) images=$2;; --work-path) work=$2;; "
        "esac; shift; done\n"
        "id=$1\n" +
            script);
    ::chmod(runc.c_str(), 0755);
  }
  Status dump(const Deadline& deadline = kNoDeadline) {
    const MemoryTrees trees(node_.node(), kMigration);
    return MemoryDump(node_.node(), kMigration, trees).run(kPod, {kApp, kOther, kLayer}, deadline);
  }
  Result<TrialTimes> try_dump(std::chrono::milliseconds budget = std::chrono::milliseconds(0)) {
    const MemoryTrees trees(node_.node(), kMigration);
    const MemoryDump dump(node_.node(), kMigration, trees);
    api::TaskRequest request;
    request.pod_uid = kPod;
    request.containers = {kApp, kOther, kLayer};
    request.freeze_budget_milliseconds = budget.count();
    return TrialDump(dump, trees, freeze_).run(request, kNoDeadline);
  }
  [[nodiscard]] fs::path at(const std::string& name) const {
    return node_.migration(kMigration) / "memory" / name;
  }
  [[nodiscard]] api::SourceProcesses state() const {
    auto cgroups = PodCgroups::find("/sys/fs/cgroup", kPod);
    auto state = cgroups->state();
    return state ? *state : api::SourceProcesses::kUnknown;
  }
  void freeze() const {
    auto cgroups = PodCgroups::find("/sys/fs/cgroup", kPod);
    ASSERT_OK(cgroups);
    ASSERT_OK(cgroups->freeze(kNoDeadline));
  }

  const api::MoverContainer kApp{.name = "app", .id = "id-of-app", .memory = true};
  const api::MoverContainer kOther{.name = "other", .id = "id-of-other", .memory = true};
  const api::MoverContainer kLayer{.name = "layer", .id = "id-of-layer", .layer = true};
  FakeNode node_;
  FakePod pod_{"pod" + kPod};
  PodFreeze freeze_{node_.node()};
  bool covered_ = false;
};

TEST_F(MemoryDumpTest, EachContainersImagesAreInItsTreeAndThePodStaysFrozen) {
  install_runc("echo $id >$images/inventory.img; cat $CRIU_CONFIG_FILE >$images/config");
  freeze();
  ASSERT_OK(dump());
  EXPECT_EQ(read_text(at("memory.app") / "inventory.img"), "id-of-app\n");
  EXPECT_EQ(read_text(at("memory.other") / "inventory.img"), "id-of-other\n");
  EXPECT_EQ(read_text(at("memory.app") / "config"), "ghost-limit 1G\nnetwork-lock skip\n");
  EXPECT_FALSE(fs::exists(at("memory.layer")));
  EXPECT_FALSE(fs::exists(at("work.app")));
  EXPECT_EQ(state(), api::SourceProcesses::kFrozen);
}

// A pod with a network of its own: CRIU sets no rules in it, which would stay where it is killed.
TEST_F(MemoryDumpTest, ThePodsNetworkIsHeldWhileItsContainersAreDumped) {
  const NetworkedProcess process(pod_);
  install_runc(process.disciplines() + " >$images/inventory.img");
  freeze();
  ASSERT_OK(dump());
  for (const char* container : {"memory.app", "memory.other"}) {
    const std::string seen = read_text(at(container) / "inventory.img");
    EXPECT_NE(seen.find("blackhole"), std::string::npos) << seen;
  }
  EXPECT_FALSE(process.is_held());
}

TEST_F(MemoryDumpTest, ADumpThatFailsOrIsKilledLeavesThePodItsNetwork) {
  const NetworkedProcess process(pod_);
  const std::string seen = (node_.top() / "seen").string();
  install_runc(process.disciplines() + " >" + seen + "; exit 1");
  EXPECT_FALSE(try_dump().ok());
  EXPECT_NE(read_text(seen).find("blackhole"), std::string::npos);
  EXPECT_FALSE(process.is_held());
  EXPECT_EQ(state(), api::SourceProcesses::kRunning);
  install_runc("mkfifo $work/never; cat $work/never");
  EXPECT_FALSE(try_dump(std::chrono::milliseconds(1500)).ok());
  EXPECT_FALSE(process.is_held());
  EXPECT_EQ(state(), api::SourceProcesses::kRunning);
}

TEST_F(MemoryDumpTest, OneOfBeforeIsReplacedInTheSameDirectories) {
  install_runc("echo $id >$images/inventory.img");
  freeze();
  ASSERT_OK(dump());
  const UniqueFd held = open_directory(at("memory.app"));
  write_text(at("memory.app") / "pages-9.img", "of before");
  install_runc("echo again >$images/inventory.img");
  ASSERT_OK(dump());
  const std::string seen = "/proc/self/fd/" + std::to_string(held.get());
  EXPECT_EQ(read_text(seen + "/inventory.img"), "again\n") << "a session holds the directory";
  EXPECT_FALSE(fs::exists(seen + "/pages-9.img"));
}

// Only so can CRIU let the processes go that it has hold of.
TEST_F(MemoryDumpTest, MeanwhileEachContainerIsFrozenByItself) {
  install_runc("for f in /sys/fs/cgroup/freezer/transship-test-*/kubepods/pod" + kPod +
               " /sys/fs/cgroup/transship-test-*/kubepods/pod" + kPod +
               "; do test -e $f || continue; cat $f/freezer.self_freezing "
               "$f/container/freezer.self_freezing "
               "$f/cgroup.freeze $f/container/cgroup.freeze 2>/dev/null; done | tr -d '\\n' "
               ">$images/inventory.img");
  freeze();
  ASSERT_OK(dump());
  EXPECT_EQ(read_text(at("memory.app") / "inventory.img").substr(0, 2), "01");
}

TEST_F(MemoryDumpTest, ADumpThatLeavesAContainerRunningIsNone) {
  const std::string container = "/transship-test-*/kubepods/pod" + kPod + "/container/";
  install_runc("echo $id >$images/inventory.img; for f in /sys/fs/cgroup/freezer" + container +
               "freezer.state; do test ! -e $f || echo THAWED >$f; done; for f in /sys/fs/cgroup" +
               container + "cgroup.freeze; do test ! -e $f || echo 0 >$f; done");
  freeze();
  const Status refused = dump();
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("let go"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(fs::is_empty(at("memory.app")));
  EXPECT_EQ(state(), api::SourceProcesses::kFrozen);
}

TEST_F(MemoryDumpTest, AFailureSaysWhyAndLeavesNoImagesAndAFrozenPod) {
  install_runc(
      "echo half >$images/pages-1.img\n"
      "cat >$work/dump.log <<'END'\n"
      "(00.001) Error (criu/util.c:9): rlimit: Can't setup RLIMIT_NOFILE for self\n"
      "(00.002) Error (criu/files-reg.c:1): Can't dump ghost file /x of 5001216 size\n"
      "(00.003) Error (criu/cr-dump.c:2): Dump files (pid: 601) failed with -1\n"
      "(00.004) Error (criu/cr-dump.c:3): Dumping FAILED.\n"
      "END\n"
      "exit 1");
  freeze();
  const Status failed = dump();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kPreconditionFailed);
  const std::string& why = failed.error().message;
  EXPECT_NE(why.find("container app"), std::string::npos) << why;
  EXPECT_NE(why.find("Can't dump ghost file /x of 5001216 size"), std::string::npos) << why;
  EXPECT_EQ(why.find("RLIMIT"), std::string::npos) << why;
  EXPECT_EQ(why.find("FAILED"), std::string::npos) << why;
  EXPECT_TRUE(fs::is_empty(at("memory.app")));
  EXPECT_FALSE(fs::exists(at("work.app")));
  EXPECT_EQ(state(), api::SourceProcesses::kFrozen);
}

TEST_F(MemoryDumpTest, WithoutALogTheProgramsLastWordsAreTold) {
  install_runc("echo first; echo 'container does not exist' >&2; exit 1");
  freeze();
  EXPECT_NE(dump().error().message.find("container does not exist"), std::string::npos);
}

TEST_F(MemoryDumpTest, NoImagesAreAFailureWhateverTheStatus) {
  install_runc("exit 0");
  freeze();
  EXPECT_FALSE(dump().ok());
}

TEST_F(MemoryDumpTest, AtTheDeadlineCriuItselfIsKilled) {
  install_runc("setsid sleep infinity & echo $! >" + (node_.top() / "criu").string() +
               "; mkfifo $work/never; cat $work/never");
  freeze();
  const Status failed = dump(Deadline(std::stop_token(), std::chrono::seconds(2)));
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kTimeout) << failed.error().message;
  const int criu = std::stoi(read_text(node_.top() / "criu"));
  const std::string status = read_text("/proc/" + std::to_string(criu) + "/status");
  EXPECT_TRUE(status.empty() || status.find("State:\tZ") != std::string::npos) << status;
  EXPECT_EQ(state(), api::SourceProcesses::kFrozen);
}

TEST_F(MemoryDumpTest, WhatAKilledMoverLeftIsEndedFirst) {
  install_runc("echo $id >$images/inventory.img");
  freeze();
  std::string mark = "TRANSSHIP_COMMAND=" + kMark;
  std::array<char*, 2> environment = {mark.data(), nullptr};
  std::array<char*, 3> words = {const_cast<char*>("/bin/sleep"), const_cast<char*>("infinity"),
                                nullptr};
  pid_t left = 0;
  ASSERT_EQ(::posix_spawn(&left, words[0], nullptr, nullptr, words.data(), environment.data()), 0);
  std::jthread reaper([left] { ::waitpid(left, nullptr, 0); });
  ASSERT_OK(dump());
  reaper.join();  // it has ended, or this test would not
  EXPECT_FALSE(fs::exists("/proc/" + std::to_string(left)));
}

TEST_F(MemoryDumpTest, APodThatRunsIsNotDumped) {
  install_runc("echo $id >$images/inventory.img");
  const Status refused = dump();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_EQ(state(), api::SourceProcesses::kRunning);
  EXPECT_FALSE(fs::exists(at("memory.app")));
}

TEST_F(MemoryDumpTest, ATrialIsMeasuredLeavesNothingAndThePodGoesOn) {
  install_runc("printf 1234567 >$images/pages-1.img; printf 123 >$images/inventory.img");
  const auto times = try_dump();
  ASSERT_OK(times);
  EXPECT_EQ(times->images.at("memory.app"), 10);
  EXPECT_EQ(times->images.at("memory.other"), 10);
  EXPECT_EQ(times->images.size(), 2U);
  EXPECT_GT(times->dump.count(), 0);
  EXPECT_GE(times->frozen, times->dump);
  EXPECT_EQ(state(), api::SourceProcesses::kRunning);
  EXPECT_FALSE(fs::exists(at("memory.app")));
  ASSERT_OK(freeze_.freeze(kPod, std::chrono::milliseconds(0), kNoDeadline));
}

TEST_F(MemoryDumpTest, ATrialThatFailsSaysWhyAndThePodGoesOn) {
  install_runc(
      "echo half >$images/pages-1.img\n"
      "echo '(00.002) Error (criu/sockets.c:1): Unknown socket (family 38)' >$work/dump.log\n"
      "exit 1");
  const auto times = try_dump();
  ASSERT_FALSE(times.ok());
  EXPECT_NE(times.error().message.find("family 38"), std::string::npos) << times.error().message;
  EXPECT_EQ(state(), api::SourceProcesses::kRunning);
  EXPECT_FALSE(fs::exists(at("memory.app")));
}

TEST_F(MemoryDumpTest, ATrialEndsWithinWhatTheProbesLeave) {
  install_runc("mkfifo $work/never; cat $work/never");
  const auto times = try_dump(std::chrono::milliseconds(1500));
  ASSERT_FALSE(times.ok());
  EXPECT_EQ(times.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(state(), api::SourceProcesses::kRunning);
}

TEST_F(MemoryDumpTest, AProgramThatTheNodeLacksIsNamed) {
  const auto ran = run_on_node(node_.node(), {{"no-such-program"}, {}}, kMark, kNoDeadline);
  ASSERT_FALSE(ran.ok());
  EXPECT_EQ(ran.error().code, ErrorCode::kNotFound);
  EXPECT_NE(ran.error().message.find("no-such-program"), std::string::npos);
}

}  // namespace
}  // namespace transship::mover
