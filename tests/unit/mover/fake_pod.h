// A pod's control groups with real processes in them, as a kubelet's cgroupfs driver lays them out.
#pragma once

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "mover/pod_cgroups.h"

extern char** environ;

namespace transship::mover {

// A pod's UID that no other run of the tests uses at the same time: they share the machine's
// cgroups, and a pod is found there by its UID alone.
inline std::string unique_pod_uid(const std::string& first_eight) {
  return first_eight + "-2222-4333-8444-" + std::to_string(100000000000 + ::getpid());
}

// A process that does nothing until it is killed; killed and reaped at the latest when this goes.
class IdleProcess {
 public:
  IdleProcess() {
    std::array<char*, 3> arguments = {const_cast<char*>("sleep"), const_cast<char*>("infinity"),
                                      nullptr};
    EXPECT_EQ(::posix_spawnp(&pid_, "sleep", nullptr, nullptr, arguments.data(), environ), 0);
  }
  ~IdleProcess() {
    if (pid_ <= 0 || reaped_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  IdleProcess(const IdleProcess&) = delete;
  IdleProcess& operator=(const IdleProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool alive() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }
  // Waits for its end; the signal that ended it.
  int end() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    reaped_ = true;
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
};

class FakePod {
 public:
  // `name` is the pod directory's, e.g. "pod<uid>".
  explicit FakePod(const std::string& name) {
    namespace fs = std::filesystem;
    for (const char* hierarchy :
         {"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"}) {
      const fs::path root(hierarchy);
      if (!fs::exists(root / "cgroup.procs")) continue;
      const fs::path top = root / ("transship-test-" + std::to_string(::getpid()));
      std::error_code error;
      fs::create_directories(top / "kubepods" / name / "container", error);
      if (error) {
        skip_ = "cannot make a cgroup: " + error.message();
        return;
      }
      tops_.push_back(top);
      pods_.push_back(top / "kubepods" / name);
    }
    if (pods_.empty()) skip_ = "no cgroup hierarchy here";
  }
  ~FakePod() {
    namespace fs = std::filesystem;
    thaw();
    for (const auto& pod : pods_) {
      std::ifstream procs(pod / "container" / "cgroup.procs");
      for (int pid = 0; procs >> pid;) ::kill(pid, SIGKILL);
    }
    processes_.clear();
    std::error_code ignored;
    for (const auto& pod : pods_) {
      fs::remove(pod / "container", ignored);
      fs::remove(pod, ignored);
    }
    for (const auto& top : tops_) {
      fs::remove(top / "kubepods", ignored);
      fs::remove(top, ignored);
    }
  }
  FakePod(const FakePod&) = delete;
  FakePod& operator=(const FakePod&) = delete;

  [[nodiscard]] const std::string& skip() const { return skip_; }

  IdleProcess& add_process() {
    processes_.push_back(std::make_unique<IdleProcess>());
    for (const auto& pod : pods_) {
      std::ofstream(pod / "container" / "cgroup.procs") << processes_.back()->pid() << std::flush;
    }
    return *processes_.back();
  }
  void remove_processes() { processes_.clear(); }
  void add(pid_t pid) {
    for (const auto& pod : pods_) {
      std::ofstream(pod / "container" / "cgroup.procs") << pid << std::flush;
    }
  }
  // As another hand would: the container's own cgroup, below the pod's.
  void freeze_container() {
    for (const auto& pod : pods_) {
      if (std::filesystem::exists(pod / "container" / "freezer.state")) {
        std::ofstream(pod / "container" / "freezer.state") << "FROZEN" << std::flush;
      }
      if (std::filesystem::exists(pod / "container" / "cgroup.freeze")) {
        std::ofstream(pod / "container" / "cgroup.freeze") << "1" << std::flush;
      }
    }
  }
  void thaw_container() { thaw("container"); }
  void thaw() {
    thaw("");
    thaw("container");
  }

 private:
  void thaw(const char* below) {
    for (const auto& pod : pods_) {
      const auto path = pod / below;
      if (std::filesystem::exists(path / "freezer.state")) {
        std::ofstream(path / "freezer.state") << "THAWED" << std::flush;
      }
      if (std::filesystem::exists(path / "cgroup.freeze")) {
        std::ofstream(path / "cgroup.freeze") << "0" << std::flush;
      }
    }
  }

  std::string skip_;
  std::vector<std::filesystem::path> tops_;
  std::vector<std::filesystem::path> pods_;
  std::vector<std::unique_ptr<IdleProcess>> processes_;
};

}  // namespace transship::mover
