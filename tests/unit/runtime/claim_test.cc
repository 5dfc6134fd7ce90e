#include "runtime/claim.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "runtime/claim_text.h"

namespace transship::runtime {
namespace {

using testing::HasSubstr;

constexpr const char* kPod = "0f5d1c0e-8f0e-4c39-a3ef-6f6c3c2a1b00";

Claim two_containers() {
  return {.migration_uid = "m-1",
          .containers = {{"web", "/node/layer/web", "/node/memory/web"}, {"lock", "/node/l", ""}},
          .skip = {"prepare"},
          .shared_memory = "/node/shm",
          .old_address = "10.1.2.3",
          .awaits_volumes = true};
}

class ClaimTest : public testing::Test {
 protected:
  ClaimTest() {
    std::string pattern = testing::TempDir() + "claim." + std::string(6, 'X');
    root_ = ::mkdtemp(pattern.data());
  }
  ~ClaimTest() override { std::filesystem::remove_all(root_); }

  [[nodiscard]] PodClaim pod(const std::string& uid = kPod) const {
    return PodClaim::open(root_ + "/claims", uid).value();
  }
  void damage(const std::string& name, const std::string& text) const {
    std::ofstream(pod().directory() + "/" + name) << text;
  }
  std::string root_;
};

TEST_F(ClaimTest, IsReadAsItWasWritten) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  const auto claim = pod().read();
  ASSERT_TRUE(claim.ok()) << claim.error().message;
  EXPECT_EQ(claim->value(), two_containers());
  EXPECT_EQ(pod().states()->size(), 2u);
  EXPECT_EQ(pod().state("web").value(), ContainerState{});
  EXPECT_EQ((*claim)->find("web")->memory, "/node/memory/web");
  EXPECT_EQ((*claim)->find("prepare"), nullptr);
  EXPECT_TRUE((*claim)->skips("prepare"));
}

TEST_F(ClaimTest, IsForRootOnly) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  for (const std::string& path : {root_ + "/claims", pod().directory()}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700u) << path;
  }
}

TEST_F(ClaimTest, NoneIsNoError) {
  EXPECT_FALSE(pod().read()->has_value());
  EXPECT_TRUE(pod().states()->empty());
  EXPECT_TRUE(pod().remove().ok());
  EXPECT_EQ(pod().lock().error().code, ErrorCode::kNotFound);
  EXPECT_EQ(pod().cold_start().error().code, ErrorCode::kNotFound);
}

TEST_F(ClaimTest, WrittenAgainKeepsTheStates) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  const ContainerState running{RestoreState::kRunning, "", "abc"};
  ASSERT_TRUE(pod().set_state("web", running).ok());
  ASSERT_TRUE(pod().write(two_containers()).ok());
  EXPECT_EQ(pod().state("web").value(), running);
}

TEST_F(ClaimTest, AnotherClaimIsNotWrittenOver) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  Claim other = two_containers();
  other.migration_uid = "m-2";
  EXPECT_EQ(pod().write(other).error().code, ErrorCode::kAlreadyExists);
  EXPECT_EQ(pod().read()->value(), two_containers());
}

TEST_F(ClaimTest, AHalfWrittenOneIsNone) {
  std::filesystem::create_directories(root_ + "/claims/." + kPod + ".new/web");
  EXPECT_FALSE(pod().read()->has_value());
  EXPECT_TRUE(pod().write(two_containers()).ok());
  EXPECT_EQ(pod().read()->value(), two_containers());
}

TEST_F(ClaimTest, StatesAreKeptWithTheirMessages) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  for (const auto state :
       {RestoreState::kRestoring, RestoreState::kRestored, RestoreState::kRunning,
        RestoreState::kFailed, RestoreState::kColdStart}) {
    const ContainerState written{state, "why \"it\"\nfailed", "id"};
    ASSERT_TRUE(pod().set_state("lock", written).ok());
    EXPECT_EQ(pod().state("lock").value(), written);
  }
}

TEST_F(ClaimTest, ColdStartIsForThoseThatFailedOrWereKilledOnly) {
  Claim claim = two_containers();
  claim.containers.push_back({"killed", "/node/l2", ""});
  claim.containers.push_back({"waits", "/node/l3", ""});
  ASSERT_TRUE(pod().write(claim).ok());
  ASSERT_TRUE(pod().set_state("web", {RestoreState::kFailed, "no", "a"}).ok());
  ASSERT_TRUE(pod().set_state("lock", {RestoreState::kRunning, "", "b"}).ok());
  ASSERT_TRUE(pod().set_state("killed", {RestoreState::kRestoring, "", "c"}).ok());
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(pod().cold_start().ok());
    EXPECT_EQ(pod().state("web")->state, RestoreState::kColdStart);
    EXPECT_EQ(pod().state("web")->message, "no");
    EXPECT_EQ(pod().state("lock")->state, RestoreState::kRunning);
    EXPECT_EQ(pod().state("killed")->state, RestoreState::kColdStart);
    EXPECT_EQ(pod().state("waits")->state, RestoreState::kPending);
  }
}

TEST_F(ClaimTest, OnlyOneHasTheLock) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  auto held = pod().lock();
  ASSERT_TRUE(held.ok()) << held.error().message;
  EXPECT_EQ(::fcntl(held->get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  const UniqueFd other(::open((pod().directory() + "/.lock").c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_NE(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  held->reset();
  EXPECT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(ClaimTest, RemovedIsNoneAndMayBeWrittenAnew) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  ASSERT_TRUE(pod().set_state("web", {RestoreState::kRunning, "", "a"}).ok());
  ASSERT_TRUE(pod().set_shared_memory_sandbox("s").ok());
  ASSERT_TRUE(pod().remove().ok());
  EXPECT_FALSE(pod().read()->has_value());
  EXPECT_TRUE(std::filesystem::is_empty(root_ + "/claims"));
  ASSERT_TRUE(pod().write(two_containers()).ok());
  EXPECT_EQ(pod().state("web")->state, RestoreState::kPending);
  EXPECT_EQ(pod().shared_memory_sandbox().value(), "");
}

TEST_F(ClaimTest, OnceWithdrawnNothingIsStartedByIt) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  ASSERT_TRUE(pod().set_state("web", {RestoreState::kRestored, "", "id"}).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(pod().withdraw("given away").ok());
  for (const char* name : {"web", "lock"}) {
    EXPECT_EQ(pod().state(name)->state, RestoreState::kFailed);
    EXPECT_EQ(pod().state(name)->message, "given away");
  }
}

TEST_F(ClaimTest, WhatMayHaveRunIsNotWithdrawn) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  for (const auto state : {RestoreState::kRestoring, RestoreState::kRunning, RestoreState::kFailed,
                           RestoreState::kColdStart}) {
    ASSERT_TRUE(pod().set_state("lock", {state, "why", "id"}).ok());
    EXPECT_EQ(pod().withdraw("given away").error().code, ErrorCode::kPreconditionFailed);
    EXPECT_EQ(pod().state("web")->state, RestoreState::kPending);
  }
}

TEST_F(ClaimTest, ThatTheVolumesArePlacedIsKept) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  EXPECT_FALSE(pod().volumes_are_placed().value());
  ASSERT_TRUE(pod().set_volumes_placed().ok());
  EXPECT_TRUE(pod().volumes_are_placed().value());
}

TEST_F(ClaimTest, TheSandboxWithTheSharedMemoryIsKept) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  EXPECT_EQ(pod().shared_memory_sandbox().value(), "");
  ASSERT_TRUE(pod().set_shared_memory_sandbox("sandbox-1").ok());
  EXPECT_EQ(pod().shared_memory_sandbox().value(), "sandbox-1");
}

TEST_F(ClaimTest, ADamagedClaimIsAnErrorNotNone) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  damage("claim.json", "{\"version\":1,");
  EXPECT_EQ(pod().read().error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(pod().states().ok());
  std::filesystem::remove(pod().directory() + "/claim.json");
  EXPECT_EQ(pod().read().error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(pod().write(two_containers()).ok());
}

TEST_F(ClaimTest, ADamagedOrLostStateIsAnErrorNotPending) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  damage("web/state", "{\"state\":\"Resumed\",\"message\":\"\",\"id\":\"\"}");
  EXPECT_THAT(pod().state("web").error().message, HasSubstr("no state Resumed"));
  std::filesystem::remove(pod().directory() + "/web/state");
  EXPECT_EQ(pod().state("web").error().code, ErrorCode::kCorrupt);
}

TEST_F(ClaimTest, ASymbolicLinkIsNotFollowed) {
  ASSERT_TRUE(pod().write(two_containers()).ok());
  const std::string path = pod().directory() + "/web/state";
  std::filesystem::rename(path, root_ + "/elsewhere");
  std::filesystem::create_symlink(root_ + "/elsewhere", path);
  EXPECT_FALSE(pod().state("web").ok());
}

TEST(ClaimNames, OnlyPlainPathComponentsAreTaken) {
  for (const char* name : {"", ".", "..", "a/b", "../a", ".hidden", "a b", "a\nb"}) {
    EXPECT_EQ(PodClaim::open("/claims", name).error().code, ErrorCode::kInvalid) << name;
    EXPECT_EQ(PodClaim::open("/claims", kPod)->state(name).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(PodClaim::open("/claims", kPod)->set_state(name, {}).error().code,
              ErrorCode::kInvalid);
  }
}

TEST(ClaimContent, WhatNoMoverWritesIsRefused) {
  struct Row {
    const char* field;
    void (*change)(Claim&);
  };
  const Row rows[] = {
      {"containers", [](Claim& claim) { claim.containers[0].name = "../web"; }},
      {"containers", [](Claim& claim) { claim.containers[1].name = "web"; }},
      {"containers.web.layer", [](Claim& claim) { claim.containers[0].layer = "node/layer"; }},
      {"containers.web.layer", [](Claim& claim) { claim.containers[0].layer = "/node/../etc"; }},
      {"containers.web.layer", [](Claim& claim) { claim.containers[0].layer = "/"; }},
      {"containers.web.memory", [](Claim& claim) { claim.containers[0].memory = "/node//x"; }},
      {"containers.web.memory", [](Claim& claim) { claim.containers[0].memory = "/node/x/"; }},
      {"containers.lock", [](Claim& claim) { claim.containers[1].layer = ""; }},
      {"skip", [](Claim& claim) { claim.skip = {"web"}; }},
      {"skip",
       [](Claim& claim) {
         claim.skip = {"a", "a"};
       }},
      {"sharedMemory", [](Claim& claim) { claim.shared_memory = "/node/./shm"; }},
      {"oldAddress", [](Claim& claim) { claim.old_address = "10.1.2.3; reboot"; }},
  };
  for (const Row& row : rows) {
    Claim claim = two_containers();
    row.change(claim);
    const auto read = parse_claim(claim_text(claim));
    ASSERT_FALSE(read.ok()) << row.field;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalid);
    EXPECT_THAT(read.error().message, testing::StartsWith(row.field));
  }
}

TEST(ClaimContent, AnotherVersionOrShapeIsRefused) {
  const std::string text = claim_text(two_containers());
  std::string newer = text;
  newer.replace(newer.find("\"version\": 1"), 12, "\"version\": 2");
  EXPECT_THAT(parse_claim(newer).error().message, HasSubstr("version"));
  for (const char* other : {"", "[]", "null", "{}", R"({"version":1,"containers":{}})"}) {
    EXPECT_FALSE(parse_claim(other).ok()) << other;
  }
}

TEST(ClaimContent, AnIPv6AddressIsOne) {
  Claim claim = two_containers();
  claim.old_address = "fd00::12";
  EXPECT_EQ(parse_claim(claim_text(claim)).value(), claim);
}

}  // namespace
}  // namespace transship::runtime
