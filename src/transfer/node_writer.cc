#include "transfer/node_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "transfer/beneath.h"

namespace transship::transfer {
namespace {

const std::string kNoPath;

WriteFailure failure(const char* tried) { return {tried, errno}; }

// umask(2) can only be asked by changing it, for all threads.
uint32_t current_umask() {
  unsigned mask = 0777;
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return mask;
  char line[256];
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::sscanf(line, "Umask: %o", &mask) == 1) break;
  }
  std::fclose(status);
  return mask;
}

Written write_all(int file, std::string_view data, int64_t offset) {
  if (!write_at(file, as_bytes(data), offset)) return failure("write");
  return {};
}

std::vector<Xattr> xattrs_of(const Node& node) {
  return node.extra ? node.extra->xattrs.read() : std::vector<Xattr>();
}

// `xattrs` must outlive it.
Metadata metadata_of(const Node& node, const std::vector<Xattr>& xattrs) {
  return {node.mode & 07777U,
          node.uid,
          node.gid,
          node.mtime_seconds,
          node.mtime_nanoseconds,
          xattrs,
          node.is_directory(),
          node.attributes()};
}

Written punch(int file, int64_t offset, int64_t length) {
  if (::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0) return {};
  if (errno != EOPNOTSUPP) return failure("make a hole in");
  const std::string zeros(static_cast<size_t>(std::min<int64_t>(length, 1 << 20)), '\0');
  while (length > 0) {
    const auto part =
        std::string_view(zeros).substr(0, static_cast<size_t>(std::min<int64_t>(length, 1 << 20)));
    if (auto failed = write_all(file, part, offset)) return failed;
    offset += static_cast<int64_t>(part.size());
    length -= static_cast<int64_t>(part.size());
  }
  return {};
}

// The block in which the file ends, where that is a hole.
Extent hole_at_end(int file) {
  struct stat now {};
  if (::fstat(file, &now) < 0 || now.st_blksize <= 0 || now.st_size % now.st_blksize == 0)
    return {};
  const off_t begin = now.st_size - now.st_size % now.st_blksize;
  if (::lseek(file, begin, SEEK_DATA) >= 0 || errno != ENXIO) return {};
  return {begin, now.st_blksize};
}

Result<UniqueFd> open_existing(const WriteJob& job) {
  return open_beneath(job.handle->get(), std::string(job.name), O_WRONLY | O_NOFOLLOW | O_NONBLOCK,
                      kNoPath);
}

}  // namespace

// Exactly, whatever is there.
Written NodeWriter::set_all(int fd, const Node& node) const {
  MetadataSteps steps;
  steps.projects = projects_;
  steps.xattrs = xattrs_;
  const std::vector<Xattr> xattrs = xattrs_of(node);
  return set_metadata(fd, metadata_of(node, xattrs), steps);
}

// Of what cannot be opened: symbolic links, FIFOs, devices, sockets.
Written NodeWriter::set_all(int directory, const std::string& name, const Node& node) const {
  MetadataSteps steps;
  steps.projects = projects_;
  steps.xattrs = xattrs_;
  const std::vector<Xattr> xattrs = xattrs_of(node);
  return set_metadata(directory, name, S_ISLNK(node.mode), metadata_of(node, xattrs), steps);
}

NodeWriter::NodeWriter(bool projects, XattrScope xattrs)
    : projects_(projects),
      xattrs_(xattrs),
      umask_(current_umask()),
      uid_(::geteuid()),
      gid_(::getegid()) {}

Written NodeWriter::run(const WriteJob& job) const {
  switch (job.op) {
    case Op::kNewFile:
      return new_file(job);
    case Op::kNewNode:
      return new_node(job);
    case Op::kFileContent: {
      auto file = open_existing(job);
      if (!file) return failure("open");
      if (::ftruncate(file->get(), 0) < 0) return failure("empty");
      if (auto failed = write_all(file->get(), job.content, 0)) return failed;
      return set_all(file->get(), *job.node);
    }
    case Op::kMetadata: {
      if (!job.node->is_regular())
        return set_all(job.handle->get(), std::string(job.name), *job.node);
      auto file = open_existing(job);
      if (!file) return failure("open");
      return set_all(file->get(), *job.node);
    }
    case Op::kOpenFile:
      return open_large(job);
    case Op::kData:
      return write_all(job.file->fd.get(), job.content, job.offset);
    case Op::kHole:
      return punch(job.file->fd.get(), job.offset, job.length);
    case Op::kCloseFile: {
      const UniqueFd file = std::move(job.file->fd);
      if (::ftruncate(file.get(), job.node->size) < 0) return failure("set the size of");
      return set_all(file.get(), *job.node);
    }
    default:
      return WriteFailure{"make", EINVAL};
  }
}

Written NodeWriter::new_file(const WriteJob& job) const {
  const Node& node = *job.node;
  auto file = open_beneath(job.handle->get(), std::string(job.name),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kNoPath, node.mode & 0777U);
  if (!file) return failure("create");
  const int fd = file->get();
  if (auto failed = write_all(fd, job.content, 0)) return failed;
  // What it got by being made is left as it is: the owner, mostly, and the mode.
  const uint32_t mode = node.mode & 07777U;
  MetadataSteps steps;
  steps.owner = job.inherits || node.uid != uid_ || node.gid != gid_;
  steps.mode = job.inherits || mode != (mode & 0777U & ~umask_);
  steps.drop_xattrs = job.inherits;
  steps.attributes = node.attributes().any();
  steps.projects = projects_;
  steps.xattrs = xattrs_;
  const std::vector<Xattr> xattrs = xattrs_of(node);
  return set_metadata(fd, metadata_of(node, xattrs), steps);
}

Written NodeWriter::new_node(const WriteJob& job) const {
  const Node& node = *job.node;
  const std::string name(job.name);
  if (S_ISLNK(node.mode)) {
    if (::symlinkat(node.extra->link_target.c_str(), job.handle->get(), name.c_str()) < 0)
      return failure("make symbolic link");
  } else {
    const dev_t device =
        node.extra ? makedev(node.extra->device_major, node.extra->device_minor) : dev_t{0};
    if (::mknodat(job.handle->get(), name.c_str(), (node.mode & S_IFMT) | 0600U, device) < 0)
      return failure("make special file");
  }
  return set_all(job.handle->get(), name, node);
}

Written NodeWriter::open_large(const WriteJob& job) const {
  auto file = job.opening == Opening::kNew
                  ? open_beneath(job.handle->get(), std::string(job.name),
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kNoPath, 0600)
                  : open_existing(job);
  if (!file) return failure(job.opening == Opening::kNew ? "create" : "open");
  if (job.opening == Opening::kEmptied && ::ftruncate(file->get(), 0) < 0) return failure("empty");
  const Extent hole = job.opening == Opening::kAsItIs ? hole_at_end(file->get()) : Extent();
  // Before the data: XFS would keep what it allocates ahead of writes beyond the end, in holes,
  // too.
  if (::ftruncate(file->get(), job.length) < 0) return failure("set the size of");
  // Of a hole that a file ended in, Btrfs makes a block of zeros when the file grows.
  if (hole.length > 0 && job.length > hole.offset) {
    if (auto failed = punch(file->get(), hole.offset, hole.length)) return failed;
  }
  job.file->fd = std::move(file).value();
  return {};
}

Written NodeWriter::settle(int directory, const Node& node) const {
  return set_all(directory, node);
}

}  // namespace transship::transfer
