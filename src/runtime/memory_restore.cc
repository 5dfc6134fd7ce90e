#include "runtime/memory_restore.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "base/directory_stream.h"
#include "runtime/durable_file.h"
#include "runtime/freezer.h"
#include "runtime/pre_resume.h"
#include "runtime/restore_end.h"
#include "runtime/scratch.h"

namespace transship::runtime {
namespace {

constexpr size_t kMostLines = 3;
constexpr const char* kEnd = "Restoring FAILED";
constexpr const char* kCriuLog = "restore.log";
constexpr uint64_t kMostLog = 64U << 20;  // bytes, besides a part of the images' size
constexpr uint64_t kMostLogPart = 16;
constexpr uint64_t kKeptLog = 4U << 20;  // of its beginning, and of its end
constexpr std::chrono::seconds kLook{1};

bool is_shared_ipc(const std::string& name) {
  return name.starts_with("ipcns-shm-") || name.starts_with("ipcns-msg-") ||
         name.starts_with("ipcns-sem-");
}

// The images as CRIU is to see them. They are the only copy, so they are not touched; hard links,
// because CRIU opens some of them when it has the container's root already, where a symbolic link
// leads elsewhere. How many bytes they have.
Result<uint64_t> link_images(const MemoryImages& images, const std::string& to) {
  const UniqueFd directory(
      ::open(images.directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return errno_error("open " + images.directory, errno);
  const auto names = list_directory(directory.get());
  if (!names) return names.error().during("list " + images.directory);
  uint64_t bytes = 0;
  for (const auto& name : *names) {
    if (!images.first && is_shared_ipc(name)) continue;
    struct stat status {};
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("look at " + images.directory + "/" + name, errno);
    }
    bytes += static_cast<uint64_t>(status.st_size);
    const std::string link = std::string(to).append("/").append(name);
    if (::linkat(directory.get(), name.c_str(), AT_FDCWD, link.c_str(), 0) != 0) {
      return errno_error("link " + link, errno);
    }
  }
  return bytes;
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

bool ends_by(int process, std::chrono::steady_clock::time_point deadline) {
  struct pollfd ended = {process, POLLIN, 0};
  return ::poll(&ended, 1, PreResume::milliseconds_until(deadline)) > 0;
}

// Damaged images make CRIU say the same for ever. It has a line for each run of pages, at most.
bool is_endless(const std::string& criu_log, uint64_t images) {
  struct stat status {};
  return ::stat(criu_log.c_str(), &status) == 0 &&
         static_cast<uint64_t>(status.st_size) > kMostLog + images / kMostLogPart;
}

// What it was that did not end; empty: frozen, or runc has ended. An error: as
// freeze_when_asked().
Result<std::string> await_restored(const PreResume& pre_resume, int runc,
                                   std::chrono::seconds limit, const std::string& criu_log,
                                   uint64_t images, bool& frozen) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto look = std::min(deadline, std::chrono::steady_clock::now() + kLook);
    const auto outcome = pre_resume.freeze_when_asked(runc, look);
    if (!outcome && ends_by(runc, deadline)) return outcome.error();
    if (!outcome) return outcome.error().message + ", and CRIU did not end";
    frozen = *outcome == PreResume::Outcome::kFrozen;
    if (*outcome != PreResume::Outcome::kTooLate && ends_by(runc, deadline)) break;
    if (PreResume::milliseconds_until(deadline) == 0) {
      return std::string("it was not restored within ").append(std::to_string(limit.count())) +
             " s";
    }
    if (is_endless(criu_log, images)) return std::string("CRIU's log grew without end");
  }
  return std::string();
}

Status run_restore(const Settings& settings, const Runc& runc, const Arguments& arguments,
                   const Bundle& bundle, const Scratch& scratch, const Scratch& images,
                   uint64_t bytes, const Permit& permit) {
  const std::string socket = scratch / kPreResumeFile;
  const std::string options = scratch / "criu.conf";
  // CRIU would resume the processes without it.
  if (::access(settings.self.c_str(), X_OK) != 0) {
    return errno_error("run " + settings.self + " as CRIU's action script", errno);
  }
  TRANSSHIP_TRY(replace_file(options, "action-script " + settings.self + "\n"));
  const auto outside = Freezer::own_path();
  if (!outside) return outside.error();
  const auto pre_resume = PreResume::listen(socket, *outside, permit);
  if (!pre_resume) return pre_resume.error();
  // It outlives us: CRIU resumes the processes, without asking, where runc is gone.
  const auto child =
      runc.begin(restore_words(runc, arguments, bundle, scratch, images),
                 {"CRIU_CONFIG_FILE=" + options, std::string(kPreResumeSocket) + "=" + socket,
                  std::string(kPreResumeOutside) + "=" + *outside});
  if (!child) return child.error();
  (void)replace_file(scratch / kRuncFile, std::to_string(child->pid));
  bool frozen = false;
  const auto hangs = await_restored(*pre_resume, child->handle.get(), settings.restore_deadline,
                                    scratch / kCriuLog, bytes, frozen);
  if (hangs && !hangs->empty()) end_restore(child->pid, child->handle.get(), *outside);
  const int status = Runc::wait(*child);
  if (!hangs) return hangs.error();
  if (!hangs->empty()) {
    return Error{ErrorCode::kTimeout, *hangs + ", so CRIU and what it had restored were ended"};
  }
  if (status != 0) {
    return Error{ErrorCode::kInternal, "runc restore ended with status " + std::to_string(status)};
  }
  if (!frozen) {
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

// A long one without its middle.
std::optional<std::string> read_log(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return std::nullopt;
  const auto size = static_cast<uint64_t>(file.tellg());
  const auto part = [&](uint64_t from, uint64_t bytes) {
    std::string text(bytes, '\0');
    file.clear();
    file.seekg(static_cast<std::streamoff>(from));
    file.read(text.data(), static_cast<std::streamsize>(bytes));
    text.resize(static_cast<size_t>(file.gcount()));
    return text;
  };
  if (size <= 2 * kKeptLog) return part(0, size);
  return part(0, kKeptLog) + "\n(" + std::to_string(size - 2 * kKeptLog) + " bytes left out)\n" +
         part(size - kKeptLog, kKeptLog);
}

std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

Error with_log(const Error& error, const std::string& criu_log, const std::string& log) {
  const auto text = read_log(criu_log);
  if (!text) {
    Error told = error;
    told.message += "; CRIU has written no log: is it there, and new enough?";
    return told;
  }
  Error told = error;
  std::string lines = telling_lines(*text);
  if (lines.empty()) lines = last_line(*text);
  if (!lines.empty()) told.message += "; CRIU: " + lines;
  if (replace_file(log, *text).ok()) told.message += " (its log: " + log + ")";
  return told;
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

Status restore_memory(const Settings& settings, const Runc& runc, const Arguments& arguments,
                      const Bundle& bundle, const MemoryImages& images, const Permit& permit,
                      const std::string& log) {
  const auto scratch = Scratch::make(settings.scratch + "/" + arguments.id());
  if (!scratch) return scratch.error();
  // On the images' own file system, where links to them can be.
  const auto links = Scratch::make(images.directory + ".restore");
  if (!links) return links.error();
  const auto bytes = link_images(images, links->path());
  if (!bytes) return bytes.error();
  Status restored =
      run_restore(settings, runc, arguments, bundle, *scratch, *links, *bytes, permit);
  if (restored.ok()) return restored;
  // CRIU may have been killed, and with it nobody but us knows of them.
  end_noted(scratch->path());
  const Error told = with_log(restored.error(), *scratch / kCriuLog, log);
  (void)runc.run_aside({"delete", "--force", arguments.id()});
  return told;
}

}  // namespace transship::runtime
