#include "runtime/install/command.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <sstream>

#include "base/unique_fd.h"

namespace transship::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostBytes = size_t{1} << 20;
constexpr size_t kToldBytes = 600;

bool is_program(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

// In the child: only what is safe between fork and exec.
[[noreturn]] void become(const char* program, char* const* argv, char* const* environment,
                         int output) {
  const int input = ::open("/dev/null", O_RDONLY);
  ::setpgid(0, 0);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(program, argv, environment);
  ::_exit(127);
}

int exit_status(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

// Until the end of the output or `end`; false where the time was over.
bool collect(int output, Clock::time_point end, std::string& text) {
  char buffer[16384];
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return false;
    pollfd waited{output, POLLIN, 0};
    if (::poll(&waited, 1, static_cast<int>(left)) <= 0) continue;
    const ssize_t n = ::read(output, buffer, sizeof buffer);
    if (n == 0 || (n < 0 && errno != EINTR)) return true;
    // What is too much is read all the same, so that the program does not wait for a reader.
    if (n > 0 && text.size() < kMostBytes) text.append(buffer, static_cast<size_t>(n));
  }
}

std::string joined(const std::vector<std::string>& argv) {
  std::string line;
  for (const std::string& word : argv) line.append(line.empty() ? "" : " ").append(word);
  return line;
}

}  // namespace

Result<std::string> find_program(const std::string& name, const std::string& path) {
  if (name.find('/') != std::string::npos) {
    if (is_program(name)) return name;
    return Error{ErrorCode::kNotFound, name + " is not there, or is not a program"};
  }
  std::istringstream directories(path);
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (directory.empty()) continue;
    directory.append("/").append(name);
    if (is_program(directory)) return directory;
  }
  return Error{ErrorCode::kNotFound, name + " is not on the node (looked in " + path + ")"};
}

Result<CommandOutput> run_command(const std::vector<std::string>& argv, const std::string& path,
                                  std::chrono::milliseconds deadline) {
  auto program = find_program(argv.front(), path);
  if (!program) return program.error();
  std::string search = "PATH=" + path;
  char* const environment[] = {search.data(), nullptr};
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("make a pipe for " + *program, errno);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("start " + *program, errno);
  if (child == 0) become(program->c_str(), words.data(), environment, writing.get());
  ::setpgid(child, child);  // in both, so that it is done whoever comes first
  writing.reset();
  CommandOutput output;
  const bool in_time = collect(reading.get(), Clock::now() + deadline, output.text);
  if (!in_time) ::kill(-child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  output.status = exit_status(status);
  if (in_time) return output;
  return Error{ErrorCode::kTimeout, joined(argv) + " did not end within " +
                                        std::to_string(deadline.count() / 1000) + " s: killed"};
}

Result<std::string> output_of(const std::vector<std::string>& argv, const std::string& path,
                              std::chrono::milliseconds deadline) {
  auto output = run_command(argv, path, deadline);
  if (!output) return output.error();
  if (output->status == 0) return std::move(output->text);
  const std::string& text = output->text;
  return Error{
      ErrorCode::kPreconditionFailed,
      joined(argv) + ": exit status " + std::to_string(output->status) + ": " +
          (text.size() > kToldBytes ? "..." + text.substr(text.size() - kToldBytes) : text)};
}

}  // namespace transship::runtime
