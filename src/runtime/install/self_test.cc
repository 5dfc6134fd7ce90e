#include "runtime/install/self_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/unique_fd.h"
#include "runtime/durable_file.h"
#include "runtime/install/command.h"
#include "runtime/install/program_file.h"

namespace transship::runtime {
namespace {

constexpr std::chrono::seconds kDeadline(30);
constexpr int kAnswerMilliseconds = 10'000;
constexpr uint16_t kPort = 7007;
constexpr const char* kId = "transship-self-test";
constexpr const char* kProgram = "transship-runtime";
constexpr const char* kNumber = "number ";
constexpr size_t kMostLines = 4;

nlohmann::json mount(const char* where, const char* type) {
  return {{"destination", where}, {"type", type}, {"source", type}};
}

std::string specification(const std::string& pod) {
  const auto shared = [&](const char* type, const char* file) {
    return nlohmann::json{{"type", type}, {"path", "/proc/" + pod + "/ns/" + file}};
  };
  const nlohmann::json spec = {{"ociVersion", "1.0.2"},
                               {"root", {{"path", "rootfs"}}},
                               {"process",
                                {{"terminal", false},
                                 {"user", {{"uid", 0}, {"gid", 0}}},
                                 {"args", {std::string("/") + kProgram, "self-test-container"}},
                                 {"env", {"PATH=/"}},
                                 {"cwd", "/"}}},
                               {"mounts", {mount("/proc", "proc"), mount("/dev", "tmpfs")}},
                               // The control group is one beside or below our own.
                               {"linux",
                                {{"namespaces",
                                  {{{"type", "pid"}},
                                   {{"type", "mount"}},
                                   shared("network", "net"),
                                   shared("ipc", "ipc"),
                                   shared("uts", "uts")}}}}};
  return spec.dump();
}

sockaddr_in address() {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(kPort);
  out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return out;
}

// The lines of a log of CRIU's that say what is wrong.
std::string telling_lines(const std::string& log) {
  const auto text = read_file(log);
  if (!text || !*text) return "";
  std::istringstream lines(**text);
  std::string out;
  size_t count = 0;
  for (std::string line; std::getline(lines, line) && count < kMostLines;) {
    // What CRIU says also where all is well.
    if (line.find("Error (") == std::string::npos ||
        line.find("RLIMIT_NOFILE") != std::string::npos ||
        line.find("cgroupd: recv req error") != std::string::npos)
      continue;
    out += "; CRIU: " + line.substr(line.find("Error ("));
    ++count;
  }
  return out;
}

// Holds the namespaces that a pod's containers share, as a pod's sandbox does.
class Sandbox {
 public:
  Sandbox() = default;
  ~Sandbox() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  Status start() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("make a pipe", errno);
    const UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    pid_ = ::fork();
    if (pid_ < 0) return errno_error("start a process", errno);
    if (pid_ == 0) hold(writing.get());
    writing.reset();
    char ready = 0;
    if (::read(reading.get(), &ready, 1) == 1) return {};
    return Error{ErrorCode::kPreconditionFailed, "cannot make namespaces of its own"};
  }
  [[nodiscard]] std::string pid() const { return std::to_string(pid_); }

 private:
  [[noreturn]] static void hold(int ready) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0) ::_exit(1);
    ifreq loopback{};
    loopback.ifr_name[0] = 'l';
    loopback.ifr_name[1] = 'o';
    loopback.ifr_flags = IFF_UP;
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (::ioctl(socket, SIOCSIFFLAGS, &loopback) != 0) ::_exit(1);
    if (::write(ready, "+", 1) != 1) ::_exit(1);
    ::close(ready);
    for (;;) ::pause();
  }
  pid_t pid_ = -1;
};

class Trial {
 public:
  explicit Trial(const SelfTest& test) : test_(test) {}

  Status run() {
    TRANSSHIP_TRY(clear());
    const Status passed = dump_and_restore();
    const Status cleared = clear();
    return passed.ok() ? cleared : passed;
  }

 private:
  [[nodiscard]] std::string at(const char* name) const { return test_.directory + "/" + name; }

  Result<std::string> runc(std::vector<std::string> words) const {
    std::vector<std::string> all = {test_.programs.runc, "--root", at("state")};
    all.insert(all.end(), words.begin(), words.end());
    return output_of(all, test_.path, kDeadline);
  }

  // Also what a test that was killed has left.
  Status clear() const {
    struct stat found {};
    if (::lstat(test_.directory.c_str(), &found) != 0) return {};
    if (::access(at("state").c_str(), F_OK) == 0) {
      auto removed = runc({"delete", "--force", kId});
      // There may be none.
      if (!removed && ::access((at("state") + "/" + kId).c_str(), F_OK) == 0)
        return removed.error();
    }
    std::error_code problem;
    std::filesystem::remove_all(test_.directory, problem);
    if (problem) return errno_error("remove " + test_.directory, problem.value());
    return {};
  }

  Status prepare() const {
    for (const char* name : {"state", "images", "work", "bundle/rootfs/proc", "bundle/rootfs/dev"})
      TRANSSHIP_TRY(make_directories(at(name)));
    const auto copied = install_program(test_.self, at("bundle/rootfs/") + kProgram);
    return copied.ok() ? Status() : copied.error();
  }

  Status specify(const Sandbox& sandbox) const {
    return replace_file(at("bundle/config.json"), specification(sandbox.pid()));
  }

  Status dump_and_restore() {
    Sandbox source;
    TRANSSHIP_TRY(source.start());
    TRANSSHIP_TRY(prepare());
    TRANSSHIP_TRY(specify(source));
    auto said = runc({"run", "--detach", "--bundle", at("bundle"), kId});
    if (!said) return said.error().during("run a container");
    const size_t begins = said->find(kNumber);
    const size_t ends = said->find('\n', begins);
    if (begins == std::string::npos || ends == std::string::npos)
      return Error{ErrorCode::kInternal, "the container said: " + *said};
    const std::string number = said->substr(begins, ends - begins);
    TRANSSHIP_TRY(expect_answer(source, number, "before the dump"));
    TRANSSHIP_TRY(criu("dump.log", {"checkpoint", "--tcp-established", "--file-locks",
                                    "--image-path", at("images"), "--work-path", at("work"), kId}));
    Sandbox target;
    TRANSSHIP_TRY(target.start());
    TRANSSHIP_TRY(specify(target));
    TRANSSHIP_TRY(criu("restore.log", {"restore", "--detach", "--tcp-established", "--file-locks",
                                       "--bundle", at("bundle"), "--image-path", at("images"),
                                       "--work-path", at("work"), kId}));
    return expect_answer(target, number, "after the restore");
  }

  // runc's own words are CRIU's log again, and long.
  [[nodiscard]] Status criu(const char* log, const std::vector<std::string>& words) const {
    auto output = runc(words);
    if (output) return {};
    const std::string lines = telling_lines(at("work/") + log);
    if (lines.empty()) return output.error();
    return Error{output.error().code, "runc " + words.front() + lines};
  }

  [[nodiscard]] Status expect_answer(const Sandbox& sandbox, const std::string& number,
                                     const char* when) const {
    const std::string answer = ask(sandbox.pid());
    if (answer == number) return {};
    return Error{ErrorCode::kInternal, std::string("the container does not answer as it should ") +
                                           when + ": \"" + answer + "\""};
  }

  // What the process says at its port; only its network namespace has that.
  static std::string ask(const std::string& pid) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return "";
    const UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(tell(pid, writing.get()));
    writing.reset();
    std::array<char, 256> answer{};
    const ssize_t n = child < 0 ? 0 : ::read(reading.get(), answer.data(), answer.size());
    while (child > 0 && ::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return {answer.data(), static_cast<size_t>(n > 0 ? n : 0)};
  }

  static int tell(const std::string& pid, int to) {
    const UniqueFd network(::open(("/proc/" + pid + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
    if (!network.valid() || ::setns(network.get(), CLONE_NEWNET) != 0) return 1;
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{kAnswerMilliseconds / 1000, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const sockaddr_in to_ask = address();
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to_ask), sizeof to_ask) != 0)
      return 1;
    std::array<char, 256> answer{};
    const ssize_t n = ::recv(socket.get(), answer.data(), answer.size(), 0);
    return n > 0 && ::write(to, answer.data(), static_cast<size_t>(n)) == n ? 0 : 1;
  }

  const SelfTest& test_;
};

}  // namespace

Status self_test(const SelfTest& test) {
  const Status passed = Trial(test).run();
  if (passed.ok()) return {};
  return passed.error().during("self-test: the node cannot dump and restore a process");
}

int self_test_container() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return 1;
  std::string number = kNumber;
  for (const unsigned char byte : bytes) number += "0123456789abcdef"[byte % 16];
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in here = address();
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0 ||
      ::listen(listener.get(), 8) != 0) {
    std::perror("listen");
    return 1;
  }
  const std::string line = number + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) return 1;
  // Whoever started it waits for the end of its output; and what is outside cannot be dumped.
  for (const int given : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(given);
  for (;;) {
    const UniqueFd asking(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (asking.valid()) (void)::send(asking.get(), number.data(), number.size(), MSG_NOSIGNAL);
  }
}

}  // namespace transship::runtime
