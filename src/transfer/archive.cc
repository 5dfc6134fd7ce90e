#include "transfer/archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "base/unique_fd.h"
#include "transfer/entry.h"

namespace transship::transfer {
namespace {

constexpr size_t kBuffer = size_t{256} << 10U;

Status check_name(const std::string& volume) {
  if (!volume.empty() && volume != "." && volume != ".." && volume.find('/') == std::string::npos) return {};
  return Error{ErrorCode::kInvalid, "archive " + quoted(volume) + ": not a plain file name"};
}

// Gathers the stream's small writes into large ones.
class BufferedSink final : public Sink {
 public:
  BufferedSink(int fd, std::string name) : out_(fd, std::move(name)) { buffer_.reserve(kBuffer); }
  Status write(Bytes data) override {
    if (buffer_.size() + data.size() > kBuffer) TRANSSHIP_TRY(flush());
    if (data.size() >= kBuffer) return out_.write(data);
    buffer_.insert(buffer_.end(), data.begin(), data.end());
    return {};
  }
  Status flush() {
    if (buffer_.empty()) return {};
    TRANSSHIP_TRY(out_.write(buffer_));
    buffer_.clear();
    return {};
  }

 private:
  FdSink out_;
  std::vector<std::byte> buffer_;
};

Result<Summary> write_and_sync(int file, const std::string& name, int from, const SendOptions& options) {
  BufferedSink sink(file, name);
  auto sent = send_tree(from, sink, options);
  if (!sent.ok()) return sent.error();
  TRANSSHIP_TRY(sink.flush());
  if (::fsync(file) != 0) return errno_error("sync " + name, errno);
  return sent;
}

}  // namespace

Result<Summary> write_archive(int archive, const std::string& volume, int from, const SendOptions& options) {
  TRANSSHIP_TRY(check_name(volume));
  const std::string name = volume + ".tar";
  const std::string unfinished = name + ".unfinished";
  (void)::unlinkat(archive, unfinished.c_str(), 0);
  const UniqueFd file(::openat(archive, unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return errno_error("create " + unfinished, errno);
  auto sent = write_and_sync(file.get(), name, from, options);
  if (!sent.ok()) {
    (void)::unlinkat(archive, unfinished.c_str(), 0);
    return sent;
  }
  if (::renameat(archive, unfinished.c_str(), archive, name.c_str()) != 0) return errno_error("rename " + unfinished, errno);
  if (::fsync(archive) != 0) return errno_error("sync the archive's directory", errno);
  return sent;
}

Result<Received> read_archive(int archive, const std::string& volume, int to, const ReceiveOptions& options) {
  TRANSSHIP_TRY(check_name(volume));
  const std::string name = volume + ".tar";
  const UniqueFd file(::openat(archive, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return errno_error("open " + name, errno);
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return errno_error("stat " + name, errno);
  if (!S_ISREG(found.st_mode)) return Error{ErrorCode::kInvalid, name + " is no regular file"};
  FdSource source(file.get(), name);
  auto received = receive_tree(to, source, options);
  if (!received.ok()) return received;
  std::byte extra{};
  auto rest = source.read(std::span(&extra, 1));
  if (!rest.ok()) return rest.error();
  if (*rest != 0) return Error{ErrorCode::kCorrupt, name + ": bytes follow the end of the stream"};
  return received;
}

}  // namespace transship::transfer
