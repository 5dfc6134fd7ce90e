#include "mover/gate.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/log.h"
#include "base/unique_fd.h"

namespace transship::mover {
namespace {

// inotify instances are few per user and shared by every gate on a node: where there is none, look.
constexpr int kPollMilliseconds = 20;

Result<UniqueFd> end_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return errno_error("block signals", errno);
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC));
  if (!fd.valid()) return errno_error("listen for signals", errno);
  return fd;
}

Result<bool> is_open(int directory) {
  struct stat status {};
  if (::fstatat(directory, kGateOpen, &status, AT_SYMLINK_NOFOLLOW) == 0) return true;
  if (errno == ENOENT) return false;
  return errno_error("look whether the gate is open", errno);
}

Status say_waiting(int directory, const std::string& path) {
  const UniqueFd file(
      ::openat(directory, kGateWaiting, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_error("write " + path + "/" + kGateWaiting, errno);
  return {};
}

}  // namespace

Result<bool> wait_at_gate(const std::string& path) {
  auto signals = end_signals();
  if (!signals) return signals.error();
  const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_error("open " + path, errno);
  // Watch first, look then: what happens in between wakes the poll.
  const UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const bool watched = changes.valid() && ::inotify_add_watch(changes.get(), path.c_str(),
                                                              IN_CREATE | IN_MOVED_TO) >= 0;
  TRANSSHIP_TRY(say_waiting(directory.get(), path));
  log::info("waiting for the volumes' content", {{"directory", path}});
  for (;;) {
    auto open = is_open(directory.get());
    if (!open) return open.error();
    if (*open) return true;
    std::array<pollfd, 2> wake = {{{signals->get(), POLLIN, 0}, {changes.get(), POLLIN, 0}}};
    if (::poll(wake.data(), wake.size(), watched ? -1 : kPollMilliseconds) < 0 && errno != EINTR) {
      return errno_error("wait for " + path + "/" + kGateOpen, errno);
    }
    if (wake[0].revents != 0) return false;
    std::array<char, 4096> events;
    while (watched && ::read(changes.get(), events.data(), events.size()) > 0) {
    }
  }
}

Status pause_until_signal() {
  auto signals = end_signals();
  if (!signals) return signals.error();
  signalfd_siginfo signal{};
  while (::read(signals->get(), &signal, sizeof signal) < 0) {
    if (errno != EINTR) return errno_error("wait for a signal", errno);
  }
  return {};
}

}  // namespace transship::mover
