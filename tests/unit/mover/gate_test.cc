#include "mover/gate.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace transship::mover {
namespace {

namespace fs = std::filesystem;

// The gate in a process of its own, as an unprivileged user where we may.
class GateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() /
                           "transship-gate-XX"
                           "XX"
                           "XX")
                              .string();
    directory_ = ::mkdtemp(pattern.data());
    fs::permissions(directory_, fs::perms::all);
  }
  void TearDown() override { fs::remove_all(directory_); }

  void start() {
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (::geteuid() == 0 && ::setuid(65532) != 0) ::_exit(2);
    auto open = wait_at_gate(directory_);
    ::_exit(!open ? 1 : *open ? 0 : 143);
  }
  void wait_until_waiting() const {
    while (!fs::exists(directory_ / kGateWaiting)) ::sched_yield();
  }
  int end() const {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  fs::path directory_;
  pid_t pid_ = -1;
};

TEST_F(GateTest, WaitsUntilItIsOpened) {
  start();
  wait_until_waiting();
  EXPECT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0);
  std::ofstream(directory_ / "something else") << "";
  std::ofstream(directory_ / kGateOpen) << "";
  EXPECT_EQ(end(), 0);
}

TEST_F(GateTest, StartedAgainAfterItWasOpenedItEndsAtOnce) {
  std::ofstream(directory_ / kGateOpen) << "";
  start();
  EXPECT_EQ(end(), 0);
}

TEST_F(GateTest, ATerminatedGateWasNotOpened) {
  start();
  wait_until_waiting();
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(end(), 143);
  EXPECT_FALSE(fs::exists(directory_ / kGateOpen));
}

TEST_F(GateTest, SaysWhenItsVolumeIsMissing) {
  fs::remove_all(directory_);
  start();
  EXPECT_EQ(end(), 1);
}

}  // namespace
}  // namespace transship::mover
