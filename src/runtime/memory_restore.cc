#include "runtime/memory_restore.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <sstream>
#include <vector>

#include "base/directory_stream.h"
#include "runtime/durable_file.h"
#include "runtime/freezer.h"
#include "runtime/pre_resume.h"

namespace transship::runtime {
namespace {

constexpr size_t kMostLines = 3;
constexpr const char* kEnd = "Restoring FAILED";
constexpr const char* kSocket = "pre-resume";
constexpr const char* kRunc = "runc.pid";
constexpr int kPatience = 30000;  // milliseconds, for a runc whose caller was killed

// A directory of its own, which goes when it does.
class Scratch {
 public:
  static Result<Scratch> make(const std::string& path) {
    std::error_code problem;
    std::filesystem::remove_all(path, problem);
    if (problem) return errno_error("remove " + path, problem.value());
    TRANSSHIP_TRY(make_directories(path));
    return Scratch(path);
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

bool is_shared_ipc(const std::string& name) {
  return name.starts_with("ipcns-shm-") || name.starts_with("ipcns-msg-") ||
         name.starts_with("ipcns-sem-");
}

// The images as CRIU is to see them. They are the only copy, so they are not touched; hard links,
// because CRIU opens some of them when it has the container's root already, where a symbolic link
// leads elsewhere.
Status link_images(const MemoryImages& images, const std::string& to) {
  const UniqueFd directory(
      ::open(images.directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return errno_error("open " + images.directory, errno);
  const auto names = list_directory(directory.get());
  if (!names) return names.error().during("list " + images.directory);
  for (const auto& name : *names) {
    if (!images.first && is_shared_ipc(name)) continue;
    const std::string link = std::string(to).append("/").append(name);
    if (::linkat(directory.get(), name.c_str(), AT_FDCWD, link.c_str(), 0) != 0) {
      return errno_error("link " + link, errno);
    }
  }
  return {};
}

std::vector<std::string> restore_words(const Runc& runc, const Arguments& arguments,
                                       const Bundle& bundle, const Scratch& scratch,
                                       const Scratch& images) {
  std::vector<std::string> words = {"restore",      "--detach",     "--tcp-established",
                                    "--file-locks", "--image-path", images.path(),
                                    "--work-path",  scratch.path()};
  const auto add = [&](const char* option, const std::string& value) {
    if (value.empty()) return;
    words.emplace_back(option);
    words.push_back(value);
  };
  add("--bundle", bundle.directory);
  add("--pid-file", arguments.pid_file);
  add("--console-socket", arguments.console_socket);
  if (arguments.no_pivot) words.emplace_back("--no-pivot");
  words.push_back(arguments.id());
  return runc.with_globals(std::move(words));
}

Status run_restore(const Settings& settings, const Runc& runc, const Arguments& arguments,
                   const Bundle& bundle, const Scratch& scratch, const Scratch& images) {
  const std::string socket = scratch / kSocket;
  const std::string options = scratch / "criu.conf";
  // CRIU would resume the processes without it.
  if (::access(settings.self.c_str(), X_OK) != 0) {
    return errno_error("run " + settings.self + " as CRIU's action script", errno);
  }
  TRANSSHIP_TRY(replace_file(options, "action-script " + settings.self + "\n"));
  const auto outside = Freezer::own_path();
  if (!outside) return outside.error();
  const auto pre_resume = PreResume::listen(socket, *outside);
  if (!pre_resume) return pre_resume.error();
  // It outlives us: CRIU resumes the processes, without asking, where runc is gone.
  const auto child =
      runc.begin(restore_words(runc, arguments, bundle, scratch, images),
                 {"CRIU_CONFIG_FILE=" + options, std::string(kPreResumeSocket) + "=" + socket,
                  std::string(kPreResumeOutside) + "=" + *outside});
  if (!child) return child.error();
  (void)replace_file(scratch / kRunc, std::to_string(child->pid));
  const auto frozen = pre_resume->freeze_when_asked(child->handle.get());
  const int status = Runc::wait(*child);
  if (!frozen) return frozen.error();
  if (status != 0) {
    return Error{ErrorCode::kInternal, "runc restore ended with status " + std::to_string(status)};
  }
  if (!*frozen) {
    return Error{ErrorCode::kInternal, "CRIU did not ask before it resumed the processes"};
  }
  return {};
}

// Without what CRIU says every time where root lacks CAP_SYS_RESOURCE, and at the end of all
// failures.
bool is_telling(const std::string& line) {
  return line.find("Error (") != std::string::npos &&
         line.find("RLIMIT_NOFILE") == std::string::npos &&
         line.find("cgroupd: recv req error") == std::string::npos &&
         line.find(kEnd) == std::string::npos;
}

Error with_log(const Error& error, const std::string& criu_log, const std::string& log) {
  const auto text = read_file(criu_log);
  if (!text || !text->has_value()) {
    Error told = error;
    told.message += "; CRIU has written no log: is it there, and new enough?";
    return told;
  }
  Error told = error;
  if (const std::string lines = telling_lines(**text); !lines.empty()) {
    told.message += "; CRIU: " + lines;
  }
  if (replace_file(log, **text).ok()) told.message += " (all of its log: " + log + ")";
  return told;
}

// Until the runc whose number is in that file, if it is still that one, has ended.
void wait_for_runc(const std::string& file, const std::string& id) {
  const auto text = read_file(file);
  pid_t pid = 0;
  if (!text || !text->has_value()) return;
  if (std::from_chars((*text)->data(), (*text)->data() + (*text)->size(), pid).ec != std::errc()) {
    return;
  }
  const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!handle.valid()) return;
  const auto words = read_file("/proc/" + std::to_string(pid) + "/cmdline");
  if (!words || words->value_or("").find(id) == std::string::npos) return;
  struct pollfd ended = {handle.get(), POLLIN, 0};
  if (::poll(&ended, 1, kPatience) == 0) (void)::kill(pid, SIGKILL);
}

}  // namespace

std::string telling_lines(const std::string& log) {
  std::string told, before;
  size_t count = 0;
  std::istringstream in(log);
  for (std::string line; count < kMostLines && std::getline(in, line);) {
    if (count == 0 && line.find(kEnd) != std::string::npos) return before;
    before = line;
    if (!is_telling(line)) continue;
    // "(00.046) " before it, or "(00.046)   53: "
    told += (count == 0 ? "" : "; ") + line.substr(line.find("Error ("));
    ++count;
  }
  return told;
}

void discard_restore(const Settings& settings, const std::string& id) {
  const std::string scratch = settings.scratch + "/" + id;
  wait_for_runc(scratch + "/" + kRunc, id);
  const auto directory = read_file(PreResume::control_group_file(scratch + "/" + kSocket));
  if (directory && directory->has_value()) Freezer::end(**directory);
  std::error_code ignored;
  std::filesystem::remove_all(scratch, ignored);
}

Status restore_memory(const Settings& settings, const Runc& runc, const Arguments& arguments,
                      const Bundle& bundle, const MemoryImages& images, const std::string& log) {
  const auto scratch = Scratch::make(settings.scratch + "/" + arguments.id());
  if (!scratch) return scratch.error();
  // On the images' own file system, where links to them can be.
  const auto links = Scratch::make(images.directory + ".restore");
  if (!links) return links.error();
  TRANSSHIP_TRY(link_images(images, links->path()));
  Status restored = run_restore(settings, runc, arguments, bundle, *scratch, *links);
  if (restored.ok()) return restored;
  const Error told = with_log(restored.error(), *scratch / "restore.log", log);
  (void)runc.run_aside({"delete", "--force", arguments.id()});
  return told;
}

}  // namespace transship::runtime
