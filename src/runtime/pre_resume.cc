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

// Whether the processes are frozen, as whoever listens says.
bool are_frozen(const std::string& socket) {
  const auto address = address_of(socket);
  if (!address) return false;
  const UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.valid() || ::connect(connection.get(), generic(*address), sizeof *address) != 0) {
    return false;
  }
  char answer = 0;
  ssize_t n = 0;
  do {
    n = ::read(connection.get(), &answer, 1);
  } while (n < 0 && errno == EINTR);
  return n == 1 && answer == kFrozen;
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
  if (action != "pre-resume") return 0;
  // Before it is asked: whoever answers moves this process out of it.
  const auto container = Freezer::of("self", outside);
  if (are_frozen(socket)) return 0;
  if (container) {
    Freezer::end(container->directory(), {::getpid(), ::getppid()});
  } else {
    end_without_control_group();
  }
  return 1;
}

Result<PreResume> PreResume::listen(const std::string& socket, std::string outside) {
  const auto address = address_of(socket);
  if (!address) return address.error();
  (void)::unlink(socket.c_str());
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.valid() || ::bind(listener.get(), generic(*address), sizeof *address) != 0 ||
      ::listen(listener.get(), 1) != 0) {
    return errno_error("listen at " + socket, errno);
  }
  return PreResume(std::move(listener), socket, std::move(outside));
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
      const Status frozen = freeze_container_of(connection.get());
      // Closing it without an answer has the script end the processes.
      if (!frozen.ok()) return frozen.error().during("freeze what was restored");
      if (::write(connection.get(), &kFrozen, 1) != 1) {
        return errno_error("tell CRIU to go on", errno);
      }
      return Outcome::kFrozen;
    }
    if (waits[1].revents != 0) return Outcome::kEnded;
  }
}

}  // namespace transship::runtime
