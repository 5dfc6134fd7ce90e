#include "runtime/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/unique_fd.h"

namespace transship::runtime {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      return errno_error("write " + path, errno);
    }
  }
  return {};
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<std::optional<std::string>> read_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.valid()) {
    if (errno == ENOENT) return std::optional<std::string>{};
    return errno_error("open " + path, errno);
  }
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n == 0) return std::optional<std::string>(std::move(text));
    if (n < 0 && errno != EINTR) return errno_error("read " + path, errno);
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    if (text.size() > kMostBytes) {
      return Error{ErrorCode::kCorrupt, path + " has more than 64 MiB, which nothing here writes"};
    }
  }
}

Status replace_file(const std::string& path, std::string_view text) {
  const std::string aside = path + ".new";
  const UniqueFd file(
      ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return errno_error("write " + aside, errno);
  TRANSSHIP_TRY(write_all(file.get(), text, aside));
  if (::fsync(file.get()) != 0) return errno_error("sync " + aside, errno);
  if (::rename(aside.c_str(), path.c_str()) != 0) {
    return errno_error("rename " + aside + " to " + path, errno);
  }
  return sync_directory(parent_of(path));
}

Status sync_directory(const std::string& path) {
  const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_error("open " + path, errno);
  if (::fsync(directory.get()) != 0) return errno_error("sync " + path, errno);
  return {};
}

Status make_directories(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return sync_directory(parent_of(path));
  if (errno == EEXIST) return {};
  if (errno != ENOENT || path == "/") return errno_error("make the directory " + path, errno);
  TRANSSHIP_TRY(make_directories(parent_of(path)));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error("make the directory " + path, errno);
  }
  return sync_directory(parent_of(path));
}

}  // namespace transship::runtime
