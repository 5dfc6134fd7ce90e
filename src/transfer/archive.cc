#include "transfer/archive.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "transfer/beneath.h"
#include "transfer/entry.h"

namespace transship::transfer {
namespace {

Status check_name(const std::string& volume) {
  if (!volume.empty() && volume.size() < 240 && volume.find('/') == std::string::npos &&
      volume.find('\0') == std::string::npos && volume.front() != '.') {
    return {};
  }
  return Error{ErrorCode::kInvalid, "a volume cannot be called " + quoted(volume)};
}

Status sync(int fd, const std::string& name) {
  if (::fsync(fd) < 0) return path_error("sync", name, errno);
  return {};
}

Result<Summary> write_file(int directory, const std::string& name, int from,
                           const SendOptions& options) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
  auto file = open_beneath(directory, name, kFlags, name, 0600);
  if (!file) return file.error();
  FdSink sink(file->get(), quoted(name));
  auto sent = send_tree(from, sink, options);
  if (!sent) return sent;
  TRANSSHIP_TRY(sync(file->get(), name));
  return sent;
}

}  // namespace

Result<Summary> write_archive(int archive, const std::string& volume, int from,
                              const SendOptions& options) {
  TRANSSHIP_TRY(check_name(volume));
  auto directory = open_beneath(archive, ".", O_RDONLY | O_DIRECTORY, ".");
  if (!directory) return directory.error();
  const std::string name = volume + ".tar";
  const std::string partial = "." + name + ".partial";
  auto sent = write_file(directory->get(), partial, from, options);
  if (!sent) {
    ::unlinkat(directory->get(), partial.c_str(), 0);
    return sent;
  }
  if (::renameat(directory->get(), partial.c_str(), directory->get(), name.c_str()) < 0) {
    return path_error("put in place", name, errno);
  }
  TRANSSHIP_TRY(sync(directory->get(), "."));
  return sent;
}

Result<Received> read_archive(int archive, const std::string& volume, int to,
                              const ReceiveOptions& options) {
  TRANSSHIP_TRY(check_name(volume));
  const std::string name = volume + ".tar";
  auto file = open_beneath(archive, name, O_RDONLY | O_NOFOLLOW, name);
  if (!file) return file.error();
  FdSource source(file->get(), quoted(name));
  auto received = receive_tree(to, source, options);
  if (!received) return received;
  std::array<std::byte, 1> more{};
  auto n = source.read(more);
  if (!n) return n.error();
  if (*n > 0) return Error{ErrorCode::kCorrupt, quoted(name) + " goes on after the stream's end"};
  return received;
}

}  // namespace transship::transfer
