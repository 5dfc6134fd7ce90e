#include "runtime/install/program_file.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/unique_fd.h"
#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

constexpr mode_t kMode = 0755;
constexpr size_t kChunk = size_t{1} << 16;

// Whether both have the same `size` bytes.
Result<bool> same_content(int a, int b, off_t size) {
  static char first[kChunk];
  static char second[kChunk];
  for (off_t at = 0; at < size;) {
    const ssize_t n = ::pread(a, first, kChunk, at);
    const ssize_t m = ::pread(b, second, kChunk, at);
    if (n < 0 || m < 0) return errno_error("compare the program with that of the node", errno);
    if (n == 0 || n != m || !std::equal(first, first + n, second)) return false;
    at += n;
  }
  return true;
}

Result<bool> is_there(int source, off_t size, const std::string& path) {
  const UniqueFd there(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat found {};
  if (!there.valid() || ::fstat(there.get(), &found) != 0 || !S_ISREG(found.st_mode) ||
      found.st_size != size || (found.st_mode & 07777) != kMode || found.st_uid != ::geteuid()) {
    return false;
  }
  return same_content(source, there.get(), size);
}

Status copy(int source, off_t size, int target, const std::string& path) {
  for (off_t at = 0; at < size;) {
    const ssize_t n = ::sendfile(target, source, &at, static_cast<size_t>(size - at));
    if (n < 0 && errno != EINTR) return errno_error("write " + path, errno);
    if (n == 0) return Error{ErrorCode::kCorrupt, "the program became shorter while it was copied"};
  }
  // Whatever the umask is.
  if (::fchmod(target, kMode) != 0) return errno_error("set the mode of " + path, errno);
  if (::fsync(target) != 0) return errno_error("sync " + path, errno);
  return {};
}

}  // namespace

Result<bool> install_program(int source, const std::string& path) {
  struct stat program {};
  if (::fstat(source, &program) != 0) return errno_error("look at the program to install", errno);
  auto same = is_there(source, program.st_size, path);
  if (!same) return same.error();
  if (*same) return false;
  const std::string aside = path + ".new";
  const UniqueFd target(
      ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!target.valid()) return errno_error("write " + aside, errno);
  TRANSSHIP_TRY(copy(source, program.st_size, target.get(), aside));
  if (::rename(aside.c_str(), path.c_str()) != 0) {
    return errno_error("rename " + aside + " to " + path, errno);
  }
  TRANSSHIP_TRY(sync_directory(path.substr(0, path.rfind('/'))));
  return true;
}

}  // namespace transship::runtime
