// A process that sees what a container's does: an overlay mount as its root, a tmpfs of its own at
// /dev/shm. In a mount namespace of its own, which ends with it.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <string>

namespace transship::mover {

class FakeContainer {
 public:
  // `top` is on a file system that can hold an upper directory, and is filled with the layers.
  // `overlay` false: its root is a plain directory.
  explicit FakeContainer(const std::filesystem::path& top, bool overlay = true)
      : top_(top), overlay_(overlay) {
    for (const char* name : {"lower/dev/shm", "upper", "work", "root"})
      std::filesystem::create_directories(top_ / name);
  }
  ~FakeContainer() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  FakeContainer(const FakeContainer&) = delete;
  FakeContainer& operator=(const FakeContainer&) = delete;

  // False where this machine has no overlay mounts.
  bool start() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) live(ends[1]);
    ::close(ends[1]);
    char ready = 0;
    const bool started = ::read(ends[0], &ready, 1) == 1;
    ::close(ends[0]);
    return started;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::filesystem::path lower() const { return top_ / "lower"; }
  [[nodiscard]] std::filesystem::path upper() const { return top_ / "upper"; }
  // What it sees, from outside.
  [[nodiscard]] std::filesystem::path root() const {
    return "/proc/" + std::to_string(pid_) + "/root";
  }

 private:
  [[noreturn]] void live(int ready) const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const std::string root = top_ / (overlay_ ? "root" : "lower");
    const std::string options = "lowerdir=" + (top_ / "lower").string() +
                                ",upperdir=" + (top_ / "upper").string() +
                                ",workdir=" + (top_ / "work").string();
    const bool mounted =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        (overlay_ ? ::mount("overlay", root.c_str(), "overlay", 0, options.c_str())
                  : ::mount(root.c_str(), root.c_str(), nullptr, MS_BIND, nullptr)) == 0 &&
        ::chroot(root.c_str()) == 0 && ::chdir("/") == 0 &&
        ::mount("shm", "/dev/shm", "tmpfs", 0, "size=1m") == 0;
    if (!mounted || ::write(ready, "", 1) != 1) ::_exit(1);
    ::close(ready);
    while (true) ::pause();
  }

  std::filesystem::path top_;
  bool overlay_;
  pid_t pid_ = -1;
};

}  // namespace transship::mover
