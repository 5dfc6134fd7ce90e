#include "mover/record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"

namespace transship::mover {
namespace {

Result<std::string> read_all(int fd, const std::string& name) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) return text;
    if (n > 0) {
      text.append(buffer, static_cast<size_t>(n));
    } else if (errno != EINTR) {
      return errno_error("read " + name, errno);
    }
  }
}

Status write_all(int fd, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      return errno_error("write " + name, errno);
    }
  }
  return {};
}

Status sync(int fd, const std::string& name) {
  if (::fsync(fd) != 0) return errno_error("sync " + name, errno);
  return {};
}

}  // namespace

Result<std::optional<nlohmann::json>> read_record(int directory, const std::string& name) {
  const UniqueFd file(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) {
    if (errno == ENOENT) return std::optional<nlohmann::json>{};
    return errno_error("open " + name, errno);
  }
  auto text = read_all(file.get(), name);
  if (!text) return text.error();
  auto record = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return Error{ErrorCode::kCorrupt, name + " is not a JSON object"};
  return std::optional<nlohmann::json>(std::move(record));
}

Status write_record(int directory, const std::string& name, const nlohmann::json& record) {
  const std::string aside = name + ".new";
  const UniqueFd file(::openat(directory, aside.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return errno_error("write " + aside, errno);
  TRANSSHIP_TRY(write_all(file.get(), record.dump(2) + "\n", aside));
  TRANSSHIP_TRY(sync(file.get(), aside));
  if (::renameat(directory, aside.c_str(), directory, name.c_str()) != 0) {
    return errno_error("rename " + aside + " to " + name, errno);
  }
  return sync(directory, "the directory of " + name);
}

Status remove_record(int directory, const std::string& name) {
  if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error("remove " + name, errno);
  }
  return sync(directory, "the directory of " + name);
}

}  // namespace transship::mover
