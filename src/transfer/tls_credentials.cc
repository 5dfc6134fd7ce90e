#include "transfer/tls_credentials.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"

namespace transship::transfer {
namespace {

constexpr size_t kLargest = 64 << 10;

Result<std::string> read_text(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_error("open " + path, errno);
  std::string text(kLargest + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("read " + path, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > kLargest)
    return Error{ErrorCode::kInvalid, "cannot use " + path + ": it has more than 64 KiB"};
  text.resize(size);
  return text;
}

}  // namespace

Result<TlsCredentials> read_tls_credentials(const std::string& directory) {
  TlsCredentials credentials;
  credentials.from = directory;
  for (const auto& [name, text] : {std::pair{"/ca.crt", &credentials.ca},
                                   {"/tls.crt", &credentials.certificate},
                                   {"/tls.key", &credentials.key}}) {
    auto read = read_text(directory + name);
    if (!read) return read.error();
    *text = std::move(read).value();
  }
  return credentials;
}

}  // namespace transship::transfer
