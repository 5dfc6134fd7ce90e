#include "runtime/install/containerd_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace transship::runtime {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A /proc with files of our own.
class FindContainerd : public testing::Test {
 protected:
  FindContainerd() {
    std::string pattern = testing::TempDir() + "proc." + std::string(6, 'X');
    proc_ = ::mkdtemp(pattern.data());
    add(1, "init", std::string("/sbin/init\0", 11));
    std::filesystem::create_directory(proc_ + "/sys");
  }
  ~FindContainerd() override { std::filesystem::remove_all(proc_); }

  void write(int pid, const std::string& name, const std::string& text) const {
    std::ofstream(proc_ + "/" + std::to_string(pid) + "/" + name, std::ios::binary) << text;
  }
  void add(int pid, const std::string& name, const std::string& command_line,
           const std::string& mounts = "mnt:[1]") const {
    const std::string directory = proc_ + "/" + std::to_string(pid);
    std::filesystem::create_directories(directory + "/ns");
    std::filesystem::create_symlink(mounts, directory + "/ns/mnt");
    write(pid, "comm", name + "\n");
    write(pid, "cmdline", command_line);
    write(
        pid, "stat",
        std::to_string(pid) + " (a ) b) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 777 10 11\n");
    write(pid, "environ", std::string("HOME=/\0PATH=/opt/bin:/bin\0", 26));
    write(pid, "cgroup", "0::/system.slice/containerd.service\n");
  }
  std::string proc_;
};

TEST_F(FindContainerd, TellsHowItRuns) {
  add(40, "containerd",
      std::string("/usr/bin/containerd\0--config=/etc/c.toml\0-a\0/run/c.sock\0", 56));
  const auto found = find_containerd(proc_);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->identity(), "40 777");
  EXPECT_EQ(found->config, "/etc/c.toml");
  EXPECT_EQ(found->address, "/run/c.sock");
  EXPECT_EQ(found->path, "/opt/bin:/bin");
  EXPECT_EQ(found->unit, "containerd.service");
}

TEST_F(FindContainerd, HasTheDefaultsOfContainerdItself) {
  add(40, "containerd", std::string("containerd\0", 11));
  write(40, "environ", "");
  write(40, "cgroup", "0::/nodes/a\n");
  const auto found = find_containerd(proc_);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->config, "/etc/containerd/config.toml");
  EXPECT_EQ(found->address, "");
  EXPECT_THAT(found->path, HasSubstr("/usr/sbin"));
  EXPECT_EQ(found->unit, "");
}

TEST_F(FindContainerd, SkipsOthersAndThoseInContainers) {
  add(39, "containerd-shim", "");
  add(40, "containerd", std::string("containerd\0", 11));
  add(41, "containerd", std::string("containerd\0", 11), "mnt:[2]");
  const auto found = find_containerd(proc_);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->pid, 40);
}

TEST_F(FindContainerd, SaysThatNoneRuns) {
  const auto found = find_containerd(proc_);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
}

TEST_F(FindContainerd, DoesNotGuessAmongSeveral) {
  add(40, "containerd", std::string("containerd\0", 11));
  add(41, "containerd", std::string("containerd\0-c\0/var/docker.toml\0", 31));
  const auto found = find_containerd(proc_);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, AllOf(HasSubstr("40"), HasSubstr("41 (/var/docker.toml)")));
}

}  // namespace
}  // namespace transship::runtime
