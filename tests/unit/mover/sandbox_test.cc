#include "mover/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <fstream>
#include <iomanip>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "mover/capabilities.h"
#include "mover/copier.h"
#include "tests/unit/mover/fake_node.h"
#include "tests/unit/mover/sandbox_probe.h"
#include "tests/unit/transfer/scratch.h"
#include "transfer/beneath.h"

namespace transship::mover {
namespace {

using transfer::Scratch;

class SandboxTest : public ::testing::TestWithParam<VolumeAccess> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the sandbox takes root";
    // Where an earlier part of this program has made mounts that are shared.
    if (!enter_own_mounts()) GTEST_SKIP() << "needs a mount namespace of its own";
    volume_.write("file", "content");
    ASSERT_EQ(::mknod(volume_.path("device").c_str(), S_IFCHR | 0600, makedev(1, 5)), 0);
    ASSERT_EQ(::setxattr(volume_.path("file").c_str(), "user.a", "b", 1, 0), 0);
    ASSERT_EQ(::setxattr(volume_.path("file").c_str(), "trusted.a", "b", 1, 0), 0);
    const UniqueFd directory(::open(volume_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto view = clone_mount(directory.get(), volume_.path(), volume_view(GetParam()));
    ASSERT_TRUE(view.ok()) << view.error().message;
    view_ = std::move(view).value();
  }
  [[nodiscard]] bool writes() const { return GetParam() == VolumeAccess::kWrite; }

  // What each try of the probe came to.
  std::map<std::string, std::string> probed() {
    ::fcntl(view_.get(), F_SETFD, 0);  // for the program to come
    const auto ran = transfer::shell("/", "exec /proc/" + std::to_string(::getpid()) + "/exe " +
                                              kProbeCommand + (writes() ? " write" : " read") +
                                              " 4<&" + std::to_string(view_.get()));
    EXPECT_EQ(ran.status, 0) << ran.errors;
    std::map<std::string, std::string> found;
    std::istringstream lines(ran.output);
    for (std::string line; std::getline(lines, line);) {
      const size_t colon = line.rfind(": ");
      found[line.substr(0, colon)] = line.substr(colon + 2);
    }
    return found;
  }

  Scratch volume_;
  UniqueFd view_;
};

TEST_P(SandboxTest, NothingButCopyingCanBeDone) {
  std::map<std::string, std::string> found = probed();
  const std::map<std::string, std::string> wanted = {
      {"open /etc/passwd", "ENOENT"},
      {"open /proc/1/root", "ENOENT"},
      {"make /file", "EROFS"},
      {"leave the volume", "ENOENT"},
      {".. is the volume", "done"},
      {"read a file", "done"},
      {"write a file", writes() ? "done" : "EROFS"},
      {"make a device", writes() ? "done" : "EROFS"},
      {"open a device", "EACCES"},
      {"read trusted.*", "done"},
      {"internet socket", "done"},
  };
  for (const auto& [name, what] : wanted) {
    EXPECT_EQ(found[name], what) << name;
    found.erase(name);
  }
  EXPECT_GE(found.size(), 30U);
  for (const auto& [name, what] : found) EXPECT_EQ(what, "EPERM") << name;
}

TEST_P(SandboxTest, ACopierIsInIt) {
  auto copier = Copier::start({GetParam()});
  ASSERT_TRUE(copier.ok()) << copier.error().message;
  const std::string proc = "/proc/" + std::to_string((*copier)->pid());
  std::map<std::string, std::string> status;
  std::ifstream lines(proc + "/status");
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(":\t");
    if (colon != std::string::npos) status[line.substr(0, colon)] = line.substr(colon + 2);
  }
  std::ostringstream kept;
  kept << std::hex << std::setw(16) << std::setfill('0')
       << (writes() ? writing_capabilities() : reading_capabilities());
  EXPECT_EQ(status["CapEff"], kept.str());
  EXPECT_EQ(status["CapPrm"], kept.str());
  EXPECT_EQ(status["CapBnd"], kept.str());
  EXPECT_EQ(status["CapInh"], "0000000000000000");
  EXPECT_EQ(status["CapAmb"], "0000000000000000");
  EXPECT_EQ(status["Seccomp"], "2");
  EXPECT_EQ(status["NoNewPrivs"], "1");
  auto table = MountTable::read(proc + "/mountinfo");
  ASSERT_TRUE(table.ok());
  std::set<std::string> points;
  for (const Mount& mount : table->mounts()) points.insert(mount.point);
  EXPECT_EQ(points, (std::set<std::string>{"/", "/proc/self/fd", "/proc/self/status"}));
  // None of ours: only its channel, its inventories' file, and the three that every program has.
  for (const auto& entry : fs::directory_iterator(proc + "/fd"))
    EXPECT_LE(std::stoi(entry.path().filename()), 4) << fs::read_symlink(entry.path());
}

TEST_P(SandboxTest, WhatItCannotHaveIsToldAndNothingRuns) {
  // The bounding set is each thread's own, and a copier's that of the thread that starts it.
  std::thread([] {
    ASSERT_EQ(::prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0), 0);
    auto copier = Copier::start({GetParam()});
    ASSERT_FALSE(copier.ok());
    EXPECT_EQ(copier.error().code, ErrorCode::kPreconditionFailed) << copier.error().message;
    EXPECT_NE(copier.error().message.find("CAP_SYS_ADMIN"), std::string::npos);
  }).join();
}

// A volume's owner may put one where a file was when it was looked at.
TEST_P(SandboxTest, ADeviceInAFilesPlaceIsNotOpenedAndNoFault) {
  const auto opened = transfer::open_for_reading(view_.get(), "device", 0, "device");
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(errno, ENXIO) << opened.error().message;
}

INSTANTIATE_TEST_SUITE_P(Both, SandboxTest,
                         ::testing::Values(VolumeAccess::kRead, VolumeAccess::kWrite),
                         [](const auto& test) {
                           return test.param == VolumeAccess::kRead ? "Reading" : "Writing";
                         });

// Each by leaving it out: what cannot be done without it.
TEST(CapabilitiesTest, ACopierHasWhatCopyingTakesAndNoMore) {
  const auto has = [](CapabilitySet set, int capability) {
    return (set >> static_cast<unsigned>(capability) & 1U) != 0;
  };
  for (const int one :
       {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_LINUX_IMMUTABLE}) {
    EXPECT_TRUE(has(writing_capabilities(), one)) << one;
    EXPECT_FALSE(has(reading_capabilities(), one)) << one;
  }
  for (const int one : {CAP_SYS_MODULE, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_SYS_RAWIO, CAP_NET_RAW,
                        CAP_MAC_ADMIN, CAP_SYSLOG, CAP_BPF, CAP_PERFMON}) {
    EXPECT_FALSE(has(node_capabilities(), one)) << one;
  }
  // The mover's own, for a dump.
  for (const int one : {CAP_IPC_OWNER, CAP_NET_ADMIN, CAP_SYS_RESOURCE, CAP_CHECKPOINT_RESTORE}) {
    EXPECT_TRUE(has(node_capabilities(), one)) << one;
    EXPECT_FALSE(has(writing_capabilities() | reading_capabilities(), one)) << one;
  }
}

}  // namespace
}  // namespace transship::mover
