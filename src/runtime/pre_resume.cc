#include "runtime/pre_resume.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <limits>

#include "runtime/durable_file.h"
#include "runtime/freezer.h"

namespace transship::runtime {
namespace {

// What is asked at the two actions, and what is answered.
constexpr char kMayGoOn = 'p';
constexpr char kAreFrozen = 'r';
constexpr char kTaken = 't';
constexpr char kFrozen = 'f';

Result<sockaddr_un> address_of(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) {
    return Error{ErrorCode::kInvalid, "the path " + socket + " is too long for a socket"};
  }
  std::copy(socket.begin(), socket.end(), address.sun_path);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Exactly one byte, or 0 where the other side is gone.
char read_byte(int connection) {
  char byte = 0;
  ssize_t n = 0;
  do {
    n = ::read(connection, &byte, 1);
  } while (n < 0 && errno == EINTR);
  return n == 1 ? byte : '\0';
}

bool write_byte(int connection, char byte) {
  return ::send(connection, &byte, 1, MSG_NOSIGNAL) == 1;
}

// What whoever listens answers; 0 where nobody does.
char ask(const std::string& socket, char question) {
  const auto address = address_of(socket);
  if (!address) return 0;
  const UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.valid() || ::connect(connection.get(), generic(*address), sizeof *address) != 0) {
    return 0;
  }
  return write_byte(connection.get(), question) ? read_byte(connection.get()) : '\0';
}

// Where the control group is not the container's alone. Returns only once the processes are killed.
void end_without_control_group() {
  const char* text = std::getenv("CRTOOLS_INIT_PID");
  const int init = text == nullptr ? 0 : std::atoi(text);
  char self[32] = {};
  // /proc is the node's, whose numbers are CRIU's; kill(2) goes by those of our own PID namespace.
  const bool same =
      ::readlink("/proc/self", self, sizeof self - 1) > 0 && std::to_string(::getpid()) == self;
  if (same && init > 1 && ::kill(init, SIGKILL) == 0) return;
  // CRIU waits as long as this does.
  for (;;) ::pause();
}

}  // namespace

int run_action(const std::string& action, const std::string& socket, const std::string& outside) {
  // For whoever ends what there is when CRIU and runc are dead; nothing is there yet.
  if (action == "pre-restore") {
    const auto group = Freezer::of("self", outside);
    if (group) (void)replace_file(PreResume::early_control_group_file(socket), group->directory());
    return 0;
  }
  // On another status than 0 CRIU kills what it has restored.
  if (action == "post-restore") return ask(socket, kMayGoOn) == kTaken ? 0 : 1;
  if (action != "pre-resume") return 0;
  // Before it is asked: whoever answers moves this process out of it.
  const auto container = Freezer::of("self", outside);
  if (ask(socket, kAreFrozen) == kFrozen) return 0;
  if (container) {
    Freezer::end(container->directory(), {::getpid(), ::getppid()});
  } else {
    end_without_control_group();
  }
  return 1;
}

Result<PreResume> PreResume::listen(const std::string& socket, std::string outside,
                                    const Permit& permit) {
  const auto address = address_of(socket);
  if (!address) return address.error();
  (void)::unlink(socket.c_str());
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.valid() || ::bind(listener.get(), generic(*address), sizeof *address) != 0 ||
      ::listen(listener.get(), 1) != 0) {
    return errno_error("listen at " + socket, errno);
  }
  return PreResume(std::move(listener), socket, std::move(outside), permit);
}

Status PreResume::let_go_on(int connection) const {
  const auto taken = permit_.take();
  if (!taken) return taken.error();
  if (!taken->has_value()) {
    return Error{ErrorCode::kPreconditionFailed, "CRIU asked twice whether it may go on"};
  }
  if (!write_byte(connection, kTaken)) return errno_error("tell CRIU that it may go on", errno);
  return {};
}

Status PreResume::freeze_container_of(int connection) const {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) {
    return errno_error("find the process that CRIU runs before it resumes", errno);
  }
  auto freezer = Freezer::of(std::to_string(peer.pid), outside_);
  if (!freezer) return freezer.error();
  TRANSSHIP_TRY(replace_file(control_group_file(socket_), freezer->directory()));
  TRANSSHIP_TRY(freezer->let_out_ours());
  return freezer->freeze();
}

int PreResume::milliseconds_until(TimePoint deadline) {
  using std::chrono::milliseconds;
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(
      std::clamp<milliseconds::rep>(left.count(), 0, std::numeric_limits<int>::max()));
}

Result<PreResume::Outcome> PreResume::freeze_when_asked(int runc, TimePoint deadline) const {
  for (;;) {
    struct pollfd waits[] = {{listener_.get(), POLLIN, 0}, {runc, POLLIN, 0}};
    const int ready = ::poll(waits, 2, milliseconds_until(deadline));
    if (ready == 0) return Outcome::kTooLate;
    if (ready < 0) {
      if (errno == EINTR) continue;
      return errno_error("wait for CRIU", errno);
    }
    if (waits[0].revents != 0) {
      const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection.valid()) continue;
      const char question = read_byte(connection.get());
      if (question == kMayGoOn) TRANSSHIP_TRY(let_go_on(connection.get()));
      if (question != kAreFrozen) continue;
      const Status frozen = freeze_container_of(connection.get());
      // Closing it without an answer has the script end the processes.
      if (!frozen.ok()) return frozen.error().during("freeze what was restored");
      if (!write_byte(connection.get(), kFrozen)) return errno_error("tell CRIU to go on", errno);
      return Outcome::kFrozen;
    }
    if (waits[1].revents != 0) return Outcome::kEnded;
  }
}

}  // namespace transship::runtime
