#include "base/directory_stream.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace transship {

Result<DirectoryStream> DirectoryStream::open(int directory) {
  // A file description of its own, since the offset belongs to it.
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  UniqueFd own(::openat(directory, ".", kFlags | O_NOATIME));
  if (!own.valid() && errno == EPERM) own.reset(::openat(directory, ".", kFlags));
  if (!own.valid()) return errno_error("list a directory", errno);
  DIR* stream = ::fdopendir(own.get());
  if (!stream) return errno_error("list a directory", errno);
  (void)own.release();
  return DirectoryStream(stream);
}

const dirent* DirectoryStream::next() {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream_.get());
    if (!entry) return nullptr;
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) return entry;
  }
}

Result<std::vector<std::string>> list_directory(int directory) {
  auto stream = DirectoryStream::open(directory);
  if (!stream) return stream.error();
  std::vector<std::string> names;
  while (const dirent* entry = stream->next()) names.emplace_back(entry->d_name);
  if (errno != 0) return errno_error("list a directory", errno);
  return names;
}

}  // namespace transship
