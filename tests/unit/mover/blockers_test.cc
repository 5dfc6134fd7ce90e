// Each blocker in a tree as /proc shows one; sockets with real ones, which no tree can have.
#include "mover/blockers.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>

#include "mover/checkpoint_tools.h"
#include "tests/unit/mover/fake_node.h"

namespace transship::mover {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BlockersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern =
        (fs::temp_directory_path() / "transship-blockers-").string() + std::string(6, 'X');
    proc_ = ::mkdtemp(pattern.data());
    for (const int pid : kApp.pids) {
      write_text(at(pid) / "comm", "server\n");
      write_text(at(pid) / "status", "Name:\tserver\nState:\tS (sleeping)\nTracerPid:\t0\n");
      write_text(at(pid) / "maps",
                 "55d0-55d1 r-xp 00000000 08:01 42      /usr/bin/server\n"
                 "7f00-7f01 rw-p 00000000 00:00 0 \n"
                 "7ffc-7ffd rw-p 00000000 00:00 0       [stack]\n");
      fs::create_directories(at(pid) / "fd");
      fs::create_directories(at(pid) / "ns");
      fs::create_symlink("user:[1]", at(pid) / "ns/user");
      open(pid, 0, "/dev/null");
      open(pid, 1, "pipe:[77]");
    }
    fs::create_directories(at(10) / "root/dev/mqueue");
  }
  void TearDown() override { fs::remove_all(proc_); }

  [[nodiscard]] fs::path at(int pid) const { return proc_ / std::to_string(pid); }
  void open(int pid, int fd, const std::string& target) const {
    fs::create_symlink(target, at(pid) / "fd" / std::to_string(fd));
  }

  const InspectedContainer kApp{"app", 10, {10, 11, 12}};  // 12 has ended
  fs::path proc_;
};

TEST_F(BlockersTest, AnOrdinaryPodHasNone) {
  fs::remove_all(at(12));
  for (const auto look :
       {stopped_processes, foreign_user_namespaces, io_uring, sockets_of_other_kinds, devices,
        deleted_files, configuration_files, listeners_on_own_address, message_queues})
    EXPECT_THAT(look(proc_, kApp), IsEmpty());
}

TEST_F(BlockersTest, StoppedAndTracedProcesses) {
  write_text(at(10) / "status", "State:\tT (stopped)\nTracerPid:\t0\n");
  write_text(at(11) / "status", "State:\tt (tracing stop)\nTracerPid:\t99\n");
  EXPECT_THAT(
      stopped_processes(proc_, kApp),
      ElementsAre(AllOf(HasSubstr("container app: process 10 (server)"), HasSubstr("SIGCONT")),
                  AllOf(HasSubstr("process 11"), HasSubstr("by process 99"))));
}

TEST_F(BlockersTest, UserNamespacesWithin) {
  fs::remove(at(11) / "ns/user");
  fs::create_symlink("user:[2]", at(11) / "ns/user");
  EXPECT_THAT(foreign_user_namespaces(proc_, kApp), ElementsAre(HasSubstr("process 11")));
}

TEST_F(BlockersTest, IoUringOpenOrMapped) {
  open(10, 7, "anon_inode:[io_uring]");
  write_text(at(11) / "maps", "7f00-7f01 rw-s 00000000 00:0f 9      anon_inode:[io_uring]\n");
  EXPECT_THAT(io_uring(proc_, kApp),
              ElementsAre(AllOf(HasSubstr("process 10"), HasSubstr("RuntimeDefault")),
                          HasSubstr("process 11")));
}

TEST_F(BlockersTest, Devices) {
  ASSERT_EQ(::mknod((proc_ / "fuse").c_str(), S_IFCHR | 0600, makedev(10, 229)), 0);
  open(10, 7, (proc_ / "fuse").string());
  write_text(at(11) / "maps",
             "7f00-7f01 rw-s 00000000 00:05 9      /dev/nvidia0\n"
             "7f01-7f02 rw-s 00000000 00:05 9      /dev/shm/segment\n"
             "7f02-7f03 rw-s 00000000 00:05 9      /dev/zero (deleted)\n");
  EXPECT_THAT(devices(proc_, kApp),
              ElementsAre(AllOf(HasSubstr("process 10"), HasSubstr("/fuse")),
                          AllOf(HasSubstr("process 11"), HasSubstr("/dev/nvidia0"))));
}

TEST_F(BlockersTest, FilesOfConfigurationThatAreOpen) {
  open(10, 7, "/etc/app/..2026_11_23_09_15_42.1234/config.yaml");
  open(11, 7, "/var/lib/..2/notes");
  EXPECT_THAT(configuration_files(proc_, kApp),
              ElementsAre(AllOf(HasSubstr("process 10"), HasSubstr("config.yaml"))));
}

TEST_F(BlockersTest, MessageQueues) {
  write_text(at(10) / "root/dev/mqueue/jobs", "");
  EXPECT_THAT(message_queues(proc_, kApp), ElementsAre(HasSubstr("/jobs")));
}

TEST_F(BlockersTest, ListenersOnThePodsOwnAddress) {
  const std::string head = "  sl  local_address rem_address   st tx rx tr tm retr uid to inode\n";
  const std::string tail = " 00000000:0000 0A 0:0 0:0 0 0 0 ";
  write_text(at(10) / "net/tcp", head + "0: 0501010A:1F90" + tail + "501 1\n" + "1: 0100007F:1F91" +
                                     tail + "502 1\n" + "2: 00000000:1F92" + tail + "503 1\n");
  write_text(at(10) / "net/tcp6",
             head + "0: 00000000000000000000000001000000:1F93" + tail + "504 1\n");
  for (const int inode : {501, 502, 503, 504})
    open(10, inode, "socket:[" + std::to_string(inode) + "]");
  EXPECT_THAT(listeners_on_own_address(proc_, kApp), ElementsAre(HasSubstr("port 8080")));
}

// Of this program itself.
InspectedContainer myself(const char* name = "app") { return {name, ::getpid(), {::getpid()}}; }

TEST(RealBlockersTest, ADeletedNameWhoseFileHasAnother) {
  const fs::path at =
      fs::temp_directory_path() / ("transship-deleted-" + std::to_string(::getpid()));
  write_text(at / "one", "x");
  fs::create_hard_link(at / "one", at / "other");
  const UniqueFd held(::open((at / "one").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd memory(::memfd_create("fd", MFD_CLOEXEC));
  EXPECT_THAT(deleted_files("/proc", myself()), IsEmpty());
  fs::remove(at / "one");
  EXPECT_THAT(deleted_files("/proc", myself()), ElementsAre(HasSubstr("/one (deleted)")));
  fs::remove(at / "other");
  EXPECT_THAT(deleted_files("/proc", myself()), IsEmpty()) << "small, it goes along";
  write_text(at / "odd (deleted)", "x");
  const UniqueFd odd(::open((at / "odd (deleted)").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_THAT(deleted_files("/proc", myself()), IsEmpty()) << "it is only called so";
  fs::remove_all(at);
}

TEST(RealBlockersTest, SocketsThatCriuDoesNotKnow) {
  const UniqueFd plain(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_THAT(sockets_of_other_kinds("/proc", myself()), IsEmpty());
  const UniqueFd several(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP));
  if (!several.valid()) GTEST_SKIP() << "this kernel has no MPTCP";
  EXPECT_THAT(sockets_of_other_kinds("/proc", myself()),
              ElementsAre(HasSubstr("GODEBUG=multipathtcp=0")));
}

// A process that holds one end of a connection and nothing else.
class Holder {
 public:
  explicit Holder(int fd) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::dup2(fd, 3);
    ::close_range(4, ~0U, 0);
    while (true) ::pause();
  }
  ~Holder() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  [[nodiscard]] InspectedContainer as(const char* name) const { return {name, pid_, {pid_}}; }
  // Once it holds nothing but that.
  void wait_until_alone() const {
    const fs::path fds = "/proc/" + std::to_string(pid_) + "/fd";
    while (std::distance(fs::directory_iterator(fds), fs::directory_iterator()) > 4)
      ::sched_yield();
  }

 private:
  pid_t pid_;
};

TEST(RealBlockersTest, UnixStreamsBetweenContainers) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  UniqueFd one(ends[0]);
  UniqueFd other(ends[1]);
  const Holder app(one.get());
  const Holder side(other.get());
  app.wait_until_alone();
  side.wait_until_alone();
  one.reset();
  other.reset();
  const auto between = unix_streams("/proc", {app.as("app"), side.as("side")});
  ASSERT_OK(between);
  EXPECT_THAT(*between,
              ElementsAre(AllOf(HasSubstr("container app"), HasSubstr("container side"))));
  InspectedContainer both = app.as("app");
  both.pids.push_back(side.as("side").init);
  const auto within = unix_streams("/proc", {both});
  ASSERT_OK(within);
  EXPECT_THAT(*within, IsEmpty()) << "CRIU dumps both ends";
  const auto outside = unix_streams("/proc", {app.as("app")});
  ASSERT_OK(outside);
  EXPECT_THAT(*outside, ElementsAre(HasSubstr("in none of these containers")));
}

TEST(RealBlockersTest, AllAreToldAtOnce) {
  const UniqueFd device(::open("/dev/kmsg", O_RDONLY | O_CLOEXEC));
  if (!device.valid()) GTEST_SKIP() << "no /dev/kmsg here";
  const fs::path at = fs::temp_directory_path() / ("transship-both-" + std::to_string(::getpid()));
  write_text(at / "..2026_01_01/config", "");
  const UniqueFd config(::open((at / "..2026_01_01/config").c_str(), O_RDONLY | O_CLOEXEC));
  const Status found = check_blockers("/proc", {myself()});
  fs::remove_all(at);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::kPreconditionFailed);
  EXPECT_THAT(found.error().message, AllOf(HasSubstr("/dev/kmsg"), HasSubstr("..2026_01_01")));
}

TEST(CheckpointToolsTest, AnOldCriuIsRefusedOnNewKernelsAlone) {
  EXPECT_TRUE(check_criu("Version: 4.2.1\n", "6.18.0-1-amd64").ok());
  EXPECT_TRUE(check_criu("Version: 4.1.1\n", "6.12.48").ok());
  EXPECT_TRUE(check_criu("warning: x86\nVersion: 5.0\n", "7.0").ok());
  const Status old = check_criu("Version: 4.1.1\nGitID: v4.1.1\n", "6.16.3");
  ASSERT_FALSE(old.ok());
  EXPECT_THAT(old.error().message, AllOf(HasSubstr("CRIU 4.1"), HasSubstr("4.2 or newer")));
  EXPECT_FALSE(check_criu("segmentation fault", "6.12").ok());
}

TEST(CheckpointToolsTest, MissingCapabilitiesAreNamed) {
  EXPECT_TRUE(check_capabilities(0x1ffffffffff).ok());
  EXPECT_TRUE(check_capabilities(0x1fffeffffff).ok()) << "without CAP_SYS_RESOURCE";
  const Status few = check_capabilities(0xa80425fb);
  ASSERT_FALSE(few.ok());
  EXPECT_THAT(few.error().message, AllOf(HasSubstr("CAP_SYS_ADMIN"), HasSubstr("privileged")));
}

}  // namespace
}  // namespace transship::mover
