#include "mover/copier_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/log.h"
#include "base/mutex.h"
#include "mover/copier_messages.h"
#include "mover/copier_program.h"

namespace transship::mover {
namespace {

using nlohmann::json;
using transfer::Until;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kLook{100};  // at the stop and the rate
constexpr std::chrono::seconds kStart{60};
constexpr std::chrono::seconds kGrace{10};  // to answer after the stop; to be gone after the end

// Those that hung when they were given up: nobody else takes note of their end.
class GivenUp {
 public:
  void add(pid_t pid) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    pids_.push_back(pid);
  }
  void bury() EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    std::erase_if(pids_, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
  }

 private:
  Mutex mutex_;
  std::vector<pid_t> pids_ GUARDED_BY(mutex_);
};

GivenUp& given_up() {
  static GivenUp those;
  return those;
}

class Spawn {
 public:
  Spawn(int channel, int log, int spill) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, STDIN_FILENO, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, log, STDERR_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, channel, kCopierChannel);
    ::posix_spawn_file_actions_adddup2(&actions_, spill, kCopierSpill);
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~Spawn() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;

  Result<pid_t> run(std::vector<std::string> words) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t pid = 0;
    const int error =
        ::posix_spawn(&pid, "/proc/self/exe", &actions_, &attributes_, arguments.data(), environ);
    if (error != 0) return errno_error("start a copier", error);
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

// The same, where it is not one of those that a copier has by number.
Result<UniqueFd> out_of_the_way(int descriptor) {
  UniqueFd higher(::fcntl(descriptor, F_DUPFD_CLOEXEC, kCopierSpill + 1));
  if (!higher.valid()) return errno_error("start a copier", errno);
  return higher;
}

// Until the other end is closed, or it is asked to stop.
void relay_log(const std::stop_token& stop, int from) {
  std::array<char, 4096> text{};
  pollfd ready{.fd = from, .events = POLLIN, .revents = 0};
  while (!stop.stop_requested()) {
    if (::poll(&ready, 1, static_cast<int>(kLook.count())) <= 0) continue;
    const ssize_t size = ::read(from, text.data(), text.size());
    if (size == 0 || (size < 0 && errno != EINTR)) return;
    if (size > 0 && ::write(STDERR_FILENO, text.data(), static_cast<size_t>(size)) < 0) return;
  }
}

// Whether it is gone within the time; then nothing of it is left.
bool gone_within(pid_t pid, milliseconds time) {
  const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd ended{.fd = handle.get(), .events = POLLIN, .revents = 0};
  if (handle.valid() && ::poll(&ended, 1, static_cast<int>(time.count())) == 0) return false;
  return ::waitpid(pid, nullptr, handle.valid() ? 0 : WNOHANG) != 0;
}

}  // namespace

Result<std::unique_ptr<CopierProcess>> CopierProcess::start(const CopierConfig& config) {
  given_up().bury();
  auto ends = CopierChannel::make();
  if (!ends) return ends.error();
  std::array<int, 2> log{};
  if (::pipe2(log.data(), O_CLOEXEC) != 0) return errno_error("start a copier", errno);
  UniqueFd log_from(log[0]);
  UniqueFd log_to(log[1]);
  auto spill = transfer::Spill::of_process().make_file();
  if (!spill) return spill.error().during("start a copier");
  auto channel = out_of_the_way(ends->second.get());
  if (!channel) return channel.error();
  auto spill_file = out_of_the_way(spill->file.get());
  if (!spill_file) return spill_file.error();
  auto pid =
      Spawn(channel->get(), log_to.get(), spill_file->get()).run(copier_arguments(config, *spill));
  if (!pid) return pid.error();
  std::unique_ptr<CopierProcess> process(
      new CopierProcess(*pid, std::move(ends->first), std::move(log_from)));
  channel->reset();
  ends->second.reset();
  log_to.reset();
  auto ready = process->answer({{}, Clock::now() + kStart}, nullptr);
  if (!ready) return ready.error().during("start a copier");
  return process;
}

CopierProcess::CopierProcess(pid_t pid, UniqueFd socket, UniqueFd log)
    : pid_(pid),
      channel_(std::move(socket)),
      relay_(
          [from = std::move(log)](const std::stop_token& stop) { relay_log(stop, from.get()); }) {}

CopierProcess::~CopierProcess() {
  channel_.close();
  ::kill(pid_, SIGKILL);
  if (gone_within(pid_, kGrace)) return;
  log::warning("a copier does not end: its storage hangs", {{"pid", std::to_string(pid_)}});
  given_up().add(pid_);
}

Status CopierProcess::tell(const json& body, const std::vector<int>& descriptors) const {
  const Status sent = channel_.send(body, descriptors);
  if (!sent.ok() && sent.error().code == ErrorCode::kUnavailable) return ended();
  return sent;
}

Result<json> CopierProcess::call(const json& body, const Until& until,
                                 const transfer::RateLimiter* limiter,
                                 const std::vector<int>& descriptors) {
  // First: what is soon done is bound by it, too.
  TRANSSHIP_TRY(tell_rate(limiter));
  TRANSSHIP_TRY(tell(body, descriptors));
  return answer(until, limiter);
}

Status CopierProcess::tell_rate(const transfer::RateLimiter* limiter) {
  if (limiter == nullptr || limiter->rate() == rate_) return {};
  rate_ = limiter->rate();
  return tell({{"rate", rate_}});
}

Result<json> CopierProcess::answer(const Until& until, const transfer::RateLimiter* limiter) {
  std::optional<Clock::time_point> asked;
  for (;;) {
    auto message = channel_.receive(kLook);
    if (!message && message.error().code == ErrorCode::kUnavailable) return ended();
    if (!message) return message.error();
    if (*message) {
      const json& said = (*message)->body;
      if (const auto error = said.find("error"); error != said.end()) return error_of(*error);
      return said;
    }
    TRANSSHIP_TRY(tell_rate(limiter));
    const Status time = until.check("copy");
    if (time.ok()) continue;
    if (!asked) {
      asked = Clock::now();
      TRANSSHIP_TRY(tell({{"stop", true}}));
    }
    if (Clock::now() - *asked < kGrace) continue;
    return Error{time.error().code,
                 time.error().message + ", and the copier does not answer: its storage hangs"};
  }
}

Error CopierProcess::ended() const {
  siginfo_t how{};
  const bool known =
      ::waitid(P_PID, static_cast<id_t>(pid_), &how, WEXITED | WNOHANG | WNOWAIT) == 0 &&
      how.si_pid == pid_ && how.si_code != CLD_EXITED;
  const std::string signal = known ? " by signal " + std::to_string(how.si_status) : "";
  const bool killed = known && how.si_status == SIGKILL;
  return {ErrorCode::kInternal,
          "the copier has ended" + signal + (killed ? ": was there enough memory?" : "")};
}

}  // namespace transship::mover
