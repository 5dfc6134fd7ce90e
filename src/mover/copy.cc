#include "mover/copy.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "api/mover_protocol.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "pki/certificates.h"
#include "transfer/send_session.h"

namespace transship::mover {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kEpoch = 1;
constexpr const char* kVolume = "tree";
constexpr std::chrono::hours kValid{24 * 30};

Result<UniqueFd> open_directory(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno_error("open " + path, errno);
  return fd;
}

Result<UniqueFd> open_or_make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error("make " + path, errno);
  }
  return open_directory(path);
}

// A copy into the tree itself would never be done.
Status check_apart(const std::string& from, const std::string& to) {
  std::error_code ignored;
  const fs::path source = fs::weakly_canonical(from, ignored);
  fs::path at = fs::weakly_canonical(to, ignored);
  while (at != source && at != at.parent_path()) at = at.parent_path();
  if (at != source) return {};
  return Error{ErrorCode::kInvalid, to + " lies in " + from + ": choose a place outside of it"};
}

// The TLS material of both ends, in memory-backed storage; gone with it.
class Credentials {
 public:
  static Result<std::unique_ptr<Credentials>> make(const std::string& uid) {
    auto made = pki::make_certificates(uid, kEpoch, kValid);
    if (!made) return made.error();
    std::error_code none;
    const fs::path parent =
        fs::is_directory("/dev/shm", none) ? fs::path("/dev/shm") : fs::temp_directory_path();
    const std::string name = "transship-copy-" + std::to_string(::getpid()) +
                             "-XX"
                             "XX"
                             "XX";
    std::string pattern = (parent / name).string();
    if (::mkdtemp(pattern.data()) == nullptr) return errno_error("make " + pattern, errno);
    auto credentials = std::make_unique<Credentials>(pattern);
    TRANSSHIP_TRY(credentials->write("sender", made->ca, made->sender));
    TRANSSHIP_TRY(credentials->write("receiver", made->ca, made->receiver));
    return credentials;
  }
  explicit Credentials(fs::path top) : top_(std::move(top)), owner_(::getpid()) {}
  ~Credentials() {
    std::error_code ignored;
    if (::getpid() == owner_) fs::remove_all(top_, ignored);
  }
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  [[nodiscard]] transfer::TlsOptions options(const std::string& uid, api::MoverRole own) const {
    const bool sends = own == api::MoverRole::kSender;
    transfer::TlsOptions options;
    options.directory = (top_ / std::string(api::to_string(own))).string();
    options.expected_name =
        api::mover_name(uid, sends ? api::MoverRole::kReceiver : api::MoverRole::kSender, kEpoch);
    return options;
  }

 private:
  Status write(const std::string& role, const std::string& ca, const pki::KeyPair& pair) const {
    const fs::path directory = top_ / role;
    std::error_code failed;
    fs::create_directory(directory, failed);
    if (failed) return Error{ErrorCode::kInternal, "make " + directory.string()};
    for (const auto& [name, text] : {std::pair<const char*, const std::string&>{"ca.crt", ca},
                                     {"tls.crt", pair.certificate},
                                     {"tls.key", pair.key}}) {
      std::ofstream file(directory / name, std::ios::binary);
      if (!(file << text) || !file.flush()) {
        return Error{ErrorCode::kInternal, "write " + (directory / name).string()};
      }
    }
    return {};
  }

  fs::path top_;
  pid_t owner_;
};

// The receiver's process: tells its port, takes the tree, and says by its status whether it did.
// Why not, the sender hears over the session.
int receive(const Credentials& credentials, const std::string& uid, int to, const CopyOptions& how,
            int tell_port) {
  const auto complain = [](const Error& error) {
    log::error("receiver", {{"error", error.message}});
    return EXIT_FAILURE;
  };
  auto listener = transfer::TlsListener::listen(
      "127.0.0.1", 0, credentials.options(uid, api::MoverRole::kReceiver));
  if (!listener) return complain(listener.error());
  const uint16_t port = listener->port();
  if (::write(tell_port, &port, sizeof port) != sizeof port) return EXIT_FAILURE;
  const std::vector<transfer::SessionVolume> volumes = {
      {kVolume, to, {}, nullptr, how.projects, how.overlay}};
  transfer::SessionOptions options;
  options.resume = how.resume;
  auto received = transfer::receive_session(*listener, {uid, kEpoch}, volumes, options);
  if (received) return EXIT_SUCCESS;
  log::debug("receiver", {{"error", received.error().message}});
  return EXIT_FAILURE;
}

// The receiver's process: ended and waited for, whatever happens.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool succeeded() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
    pid_ = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
  }

  [[nodiscard]] bool has_ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == pid_;
  }

 private:
  pid_t pid_;
};

Status run_between(const std::string& command, int next) {
  if (command.empty()) return {};
  ::setenv("ROUND", std::to_string(next).c_str(), /*overwrite=*/1);
  if (std::system(command.c_str()) == 0) return {};
  return Error{ErrorCode::kPreconditionFailed, "the command between the rounds failed: " + command};
}

Result<CopyReport> send(const transfer::Connect& connect, const std::string& uid, int from,
                        const CopyOptions& how) {
  auto began = Clock::now();
  const auto elapsed = [&began] {
    return std::chrono::duration<double>(Clock::now() - began).count();
  };
  transfer::RateLimiter limiter(how.bandwidth_bytes_per_second);
  CopyReport report;
  CopyRound last;
  transfer::SessionOptions options;
  options.limiter = how.bandwidth_bytes_per_second > 0 ? &limiter : nullptr;
  options.compression = how.compression;
  options.on_sent = [&] { last.sent_seconds = elapsed(); };
  transfer::SendSession session(connect, {uid, kEpoch},
                                {{kVolume, from, {}, nullptr, how.projects, how.overlay}}, options);
  TRANSSHIP_TRY(session.begin());
  for (int round = 0; round + 1 < how.rounds; ++round) {
    auto sent = session.round();
    if (!sent) return sent.error();
    report.rounds.push_back({*sent, elapsed(), elapsed()});
    session.pause();
    TRANSSHIP_TRY(run_between(how.between, round + 1));
    TRANSSHIP_TRY(session.go_on({}, options.limiter));
    began = Clock::now();
  }
  auto sent = session.finish(&last.sent);
  if (!sent) return sent.error();
  last.seconds = elapsed();
  report.rounds.push_back(last);
  report.summary = sent->front().verified;
  return report;
}

}  // namespace

Result<CopyReport> copy(const CopyOptions& options) {
  auto from = open_directory(options.from);
  if (!from) return from.error();
  TRANSSHIP_TRY(check_apart(options.from, options.to));
  auto to = open_or_make_directory(options.to);
  if (!to) return to.error();
  const std::string uid = "copy-" + std::to_string(::getpid());
  auto credentials = Credentials::make(uid);
  if (!credentials) return credentials.error();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("make a pipe", errno);
  const UniqueFd port_from(ends[0]);
  UniqueFd port_to(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork", errno);
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(EXIT_FAILURE);
    ::_exit(receive(**credentials, uid, to->get(), options, port_to.get()));
  }
  Child receiver(pid);
  port_to.reset();
  uint16_t port = 0;
  if (::read(port_from.get(), &port, sizeof port) != sizeof port) {
    return Error{ErrorCode::kInternal, "the receiver did not start"};
  }
  const transfer::TlsOptions tls = (*credentials)->options(uid, api::MoverRole::kSender);
  const auto connect =
      [&](const transfer::Until& until) -> Result<std::unique_ptr<transfer::TlsStream>> {
    if (receiver.has_ended()) return Error{ErrorCode::kInternal, "the receiver has ended"};
    return transfer::tls_connect("127.0.0.1", port, tls, until);
  };
  auto report = send(connect, uid, from->get(), options);
  if (!report) return report;
  if (!receiver.succeeded()) return Error{ErrorCode::kInternal, "the receiver failed at its end"};
  return report;
}

Result<transfer::Summary> export_tree(const std::string& from, int to, const std::string& name) {
  if (::isatty(to) != 0) {
    return Error{ErrorCode::kInvalid, name + " is a terminal: send the tar to a file or a pipe"};
  }
  auto directory = open_directory(from);
  if (!directory) return directory.error();
  transfer::FdSink sink(to, name);
  return transfer::send_tree(directory->get(), sink);
}

Result<transfer::Summary> import_tree(int from, const std::string& name, const std::string& to) {
  auto directory = open_or_make_directory(to);
  if (!directory) return directory.error();
  transfer::FdSource source(from, name);
  auto received = transfer::receive_tree(directory->get(), source);
  if (!received) return received.error();
  std::array<std::byte, 1> more{};
  auto rest = source.read(more);
  if (!rest) return rest.error();
  if (*rest > 0) return Error{ErrorCode::kCorrupt, name + " goes on after the stream's end"};
  return transfer::verify_tree(directory->get(), received->manifest);
}

}  // namespace transship::mover
