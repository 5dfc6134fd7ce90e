// A process of a fake pod's that has a network namespace of its own, as a pod's processes have.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <string>

#include "tests/unit/mover/fake_pod.h"

namespace transship::mover {

// The pod's only one, or the oldest: what others it has are killed first.
class NetworkedProcess {
 public:
  explicit NetworkedProcess(FakePod& pod) : pod_(pod) {
    pod.remove_processes();
    std::array<int, 2> ready{};
    EXPECT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      if (::unshare(CLONE_NEWNET) != 0 || ::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "it has no network namespace";
    ::close(ready[0]);
    pod.add(pid_);
  }
  ~NetworkedProcess() {
    pod_.thaw();  // or it would not die
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  NetworkedProcess(const NetworkedProcess&) = delete;
  NetworkedProcess& operator=(const NetworkedProcess&) = delete;

  [[nodiscard]] std::string network() const { return "/proc/" + std::to_string(pid_) + "/ns/net"; }
  // The command that prints what the network's interfaces send by.
  [[nodiscard]] std::string disciplines() const {
    return "nsenter --net=" + network() + " tc qdisc show dev lo";
  }
  [[nodiscard]] bool is_held() const {
    FILE* pipe = ::popen((disciplines() + " 2>&1").c_str(), "r");
    std::string text;
    std::array<char, 4096> buffer{};
    while (::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
    EXPECT_EQ(::pclose(pipe), 0) << text;
    return text.find("blackhole") != std::string::npos;
  }

 private:
  FakePod& pod_;
  pid_t pid_ = -1;
};

}  // namespace transship::mover
