// A node for tests: a kubelet root of its own, shared as on a real node, in a mount namespace of
// the test's own. Needs root; skip() says why where that cannot be had.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "mover/deadline.h"
#include "mover/mount_table.h"
#include "mover/node.h"

namespace transship::mover {

namespace fs = std::filesystem;

inline const Deadline kNoDeadline{std::stop_token(), std::chrono::milliseconds(0)};

inline void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Makes `name` within itself so many times; the last of them.
inline UniqueFd make_deep(int directory, const std::string& name, int levels) {
  UniqueFd at(::fcntl(directory, F_DUPFD_CLOEXEC, 0));
  for (int i = 0; i < levels; ++i) {
    EXPECT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0) << std::strerror(errno);
    at.reset(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  return at;
}

// The whole program moves to a mount namespace of its own, once. False where it may not.
inline bool enter_own_mounts() {
  static const bool entered = ::unshare(CLONE_NEWNS) == 0 &&
                              ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return entered;
}

class FakeNode {
 public:
  FakeNode() {
    if (!enter_own_mounts()) {
      skip_ = std::string("needs a mount namespace of its own: ") + std::strerror(errno);
      return;
    }
    std::string pattern = (fs::temp_directory_path() /
                           "transship-mover-XX"
                           "XX"
                           "XX")
                              .string();
    top_ = ::mkdtemp(pattern.data());
    kubelet_ = top_ / "kubelet";
    fs::create_directories(kubelet_ / "pods");
    ::mount(kubelet_.c_str(), kubelet_.c_str(), nullptr, MS_BIND, nullptr);
    ::mount(nullptr, kubelet_.c_str(), nullptr, MS_SHARED, nullptr);
    auto node = open();
    if (node) {
      node_ = std::move(node).value();
    } else {
      skip_ = node.error().message;
    }
  }
  ~FakeNode() {
    if (top_.empty()) return;
    node_.reset();
    if (auto table = MountTable::read(Node::own_mountinfo())) {
      const auto points = table->below(top_.string());
      for (auto point = points.rbegin(); point != points.rend(); ++point) {
        ::umount2(point->c_str(), MNT_DETACH);
      }
    }
    std::error_code ignored;
    fs::remove_all(top_, ignored);
  }
  FakeNode(const FakeNode&) = delete;
  FakeNode& operator=(const FakeNode&) = delete;

  // Why the test cannot run here; empty where it can.
  [[nodiscard]] const std::string& skip() const { return skip_; }
  Node& node() { return *node_; }
  [[nodiscard]] const fs::path& kubelet() const { return kubelet_; }
  [[nodiscard]] const fs::path& top() const { return top_; }

  // A mover's view of this node, from the calling thread's mount namespace.
  [[nodiscard]] Result<Node> open() const {
    return Node::open({.name = "node-a",
                       .kubelet_root = kubelet_.string(),
                       .process = "/proc/self",
                       .claims = claims().string(),
                       .sandboxes = sandboxes().string()});
  }
  [[nodiscard]] fs::path claims() const { return top_ / "claims"; }
  [[nodiscard]] fs::path sandboxes() const { return top_ / "sandboxes"; }

  // What kubelet makes for an emptyDir.
  fs::path make_empty_dir(const std::string& pod_uid, const std::string& volume,
                          bool memory = false) {
    fs::path path = kubelet_ / empty_dir_path(pod_uid, volume);
    fs::create_directories(path);
    ::chmod(path.c_str(), 0777);
    if (memory) {
      EXPECT_EQ(::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=8m"), 0);
    }
    return path;
  }

  [[nodiscard]] fs::path migration(const std::string& uid) const {
    return kubelet_ / "transship" / uid;
  }

 private:
  std::string skip_;
  fs::path top_;
  fs::path kubelet_;
  std::optional<Node> node_;
};

inline UniqueFd open_directory(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_TRUE(fd.valid()) << path;
  return fd;
}

}  // namespace transship::mover

#define ASSERT_OK(expression)                                               \
  do {                                                                      \
    const auto& assert_ok_result = (expression);                            \
    ASSERT_TRUE(assert_ok_result.ok()) << assert_ok_result.error().message; \
  } while (false)
#define SKIP_WITHOUT(thing) \
  if (!(thing).skip().empty()) GTEST_SKIP() << (thing).skip()
