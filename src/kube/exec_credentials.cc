#include "kube/exec_credentials.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>

#include "base/mutex.h"
#include "base/time.h"
#include "base/unique_fd.h"

namespace transship::kube {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxOutputBytes = std::size_t{1} << 20U;
constexpr std::chrono::seconds kPluginTime{60};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (const std::string& text : texts) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

// A running program; killed and waited for by who drops it.
class Program {
 public:
  static Result<Program> start(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe", errno);
    UniqueFd from(ends[0]);
    const UniqueFd to(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, to.get(), STDOUT_FILENO);
    // What this process's threads have blocked is nothing to the program.
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int failed = ::posix_spawnp(&pid, arguments.front().c_str(), &actions, &attributes,
                                      pointers(arguments).data(), pointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return errno_error("run " + arguments.front(), failed);
    return Program(pid, std::move(from));
  }

  Program(Program&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)),
        output_(std::move(other.output_)),
        ended_(std::move(other.ended_)) {}
  Program& operator=(Program&&) = delete;
  ~Program() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  // False: the deadline passed, or it wrote too much.
  bool read(std::string& text, Clock::time_point deadline) {
    char buffer[4096];
    while (readable(output_.get(), deadline)) {
      const ssize_t count = ::read(output_.get(), buffer, sizeof buffer);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return readable(ended_.get(), deadline);
      text.append(buffer, static_cast<std::size_t>(count));
      if (text.size() > kMaxOutputBytes) return false;
    }
    return false;
  }

  // Its status as waitpid(2) gives it.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

 private:
  Program(pid_t pid, UniqueFd output)
      : pid_(pid),
        output_(std::move(output)),
        ended_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

  static bool readable(int fd, Clock::time_point deadline) {
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return false;
      pollfd wanted{fd, POLLIN, 0};
      const int ready = ::poll(&wanted, 1, static_cast<int>(std::min<long>(left, 60000)));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

  pid_t pid_;
  UniqueFd output_;
  UniqueFd ended_;
};

struct Granted {
  std::string token;
  std::string certificate;
  std::string key;
  std::optional<WallTime> expires;
};

std::string text_at(const nlohmann::json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Result<Granted> parse_credential(const std::string& text, const ExecPlugin& plugin) {
  const auto wrong = [&](const std::string& what) {
    return Error{ErrorCode::kInvalid, "exec " + plugin.command + ": " + what};
  };
  const auto credential = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!credential.is_object() || text_at(credential, "kind") != "ExecCredential") {
    return wrong("its output is no ExecCredential");
  }
  if (text_at(credential, "apiVersion") != plugin.api_version) {
    return wrong("apiVersion is not " + plugin.api_version);
  }
  const auto status = credential.find("status");
  if (status == credential.end() || !status->is_object()) return wrong("status is missing");
  Granted granted{text_at(*status, "token"), text_at(*status, "clientCertificateData"),
                  text_at(*status, "clientKeyData"), std::nullopt};
  if (granted.token.empty() && granted.certificate.empty()) {
    return wrong("status has neither token nor clientCertificateData");
  }
  if (granted.certificate.empty() != granted.key.empty()) {
    return wrong("status.clientCertificateData and status.clientKeyData belong together");
  }
  const std::string expires = text_at(*status, "expirationTimestamp");
  if (!expires.empty()) {
    granted.expires = parse_time(expires);
    if (!granted.expires) return wrong("status.expirationTimestamp is no time in UTC");
  }
  return granted;
}

class ExecCredentials : public CredentialSource {
 public:
  ExecCredentials(ExecPlugin plugin, std::shared_ptr<CredentialSource> server)
      : plugin_(std::move(plugin)), server_(std::move(server)) {}

  Result<Credentials> get() override EXCLUDES(mutex_) {
    auto credentials = server_->get();
    if (!credentials) return credentials;
    const MutexLock lock(mutex_);
    const bool expired =
        granted_ && granted_->expires && *granted_->expires <= std::chrono::system_clock::now();
    if (!granted_ || rejected_ || expired) {
      auto fresh = run();
      if (!fresh) return fresh.error();
      granted_ = std::move(*fresh);
      rejected_ = false;
    }
    credentials->token = granted_->token;
    credentials->certificate = granted_->certificate;
    credentials->key = granted_->key;
    return credentials;
  }

  void rejected() override EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    rejected_ = true;
  }

 private:
  Result<Granted> run() const {
    nlohmann::json info = {{"apiVersion", plugin_.api_version},
                           {"kind", "ExecCredential"},
                           {"spec", {{"interactive", false}}}};
    if (!plugin_.cluster.is_null()) info["spec"]["cluster"] = plugin_.cluster;
    std::vector<std::string> environment;
    for (const auto& [name, value] : plugin_.environment) {
      environment.emplace_back(name).append("=").append(value);
    }
    environment.push_back("KUBERNETES_EXEC_INFO=" + info.dump());
    std::vector<std::string> arguments = {plugin_.command};
    arguments.insert(arguments.end(), plugin_.arguments.begin(), plugin_.arguments.end());
    auto output = run_program(arguments, environment, kPluginTime);
    if (!output) {
      Error error = output.error().during("exec");
      if (!plugin_.install_hint.empty()) error.message += " (" + plugin_.install_hint + ")";
      return error;
    }
    return parse_credential(*output, plugin_);
  }

  const ExecPlugin plugin_;
  const std::shared_ptr<CredentialSource> server_;
  Mutex mutex_;
  std::optional<Granted> granted_ GUARDED_BY(mutex_);
  bool rejected_ GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<CredentialSource> exec_credentials(ExecPlugin plugin,
                                                   std::shared_ptr<CredentialSource> server) {
  return std::make_shared<ExecCredentials>(std::move(plugin), std::move(server));
}

Result<std::string> run_program(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& environment,
                                std::chrono::milliseconds timeout) {
  std::vector<std::string> all = environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const std::string_view name = text.substr(0, text.find('=') + 1);
    const bool replaced = std::any_of(environment.begin(), environment.end(),
                                      [&](const auto& own) { return own.starts_with(name); });
    if (!replaced) all.emplace_back(text);
  }
  auto program = Program::start(arguments, all);
  if (!program) return program.error();
  std::string output;
  if (!program->read(output, Clock::now() + timeout)) {
    return Error{ErrorCode::kTimeout, "run " + arguments.front() +
                                          ": it did not end in time, or wrote too much, and was "
                                          "killed"};
  }
  const int status = program->wait();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return output;
  const std::string how = WIFEXITED(status) ? "exit status " + std::to_string(WEXITSTATUS(status))
                                            : "signal " + std::to_string(WTERMSIG(status));
  return Error{ErrorCode::kInvalid, "run " + arguments.front() + ": " + how};
}

}  // namespace transship::kube
