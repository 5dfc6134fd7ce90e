#include "transfer/byte_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transfer/sigpipe.h"

namespace transship::transfer {

bool write_at(int file, Bytes data, int64_t offset) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(file, data.data(), data.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data = data.subspan(static_cast<size_t>(n));
    offset += n;
  }
  return true;
}

Status FdSink::write(Bytes data) {
  const SigpipeBlock no_signal;
  while (!data.empty()) {
    const ssize_t n = ::write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("write " + name_, errno);
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<size_t> FdSource::read(MutableBytes buffer) {
  while (true) {
    const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return errno_error("read " + name_, errno);
  }
}

Status MemorySink::write(Bytes data) {
  data_.insert(data_.end(), data.begin(), data.end());
  return {};
}

Result<size_t> MemorySource::read(MutableBytes buffer) {
  const size_t n = std::min(buffer.size(), rest_.size());
  std::copy_n(rest_.begin(), n, buffer.begin());
  rest_ = rest_.subspan(n);
  return n;
}

}  // namespace transship::transfer
