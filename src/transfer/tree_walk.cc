#include "transfer/tree_walk.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/directory_stream.h"
#include "transfer/beneath.h"
#include "transfer/entry.h"

namespace transship::transfer {
namespace {

constexpr size_t kHeldDirectories = 64;

struct Name {
  uint64_t inode;
  std::string name;
};

}  // namespace

struct TreeWalk::Directory {
  UniqueFd fd;  // not valid while too many below it are open
  struct statx stat {};
  std::vector<Name> names;  // still to be visited, the next one last
  size_t path_length = 0;
};

TreeWalk::TreeWalk(int root, Options options) : root_(root), options_(std::move(options)) {}

TreeWalk::~TreeWalk() = default;

Status TreeWalk::run(const Visit& visit) {
  path_ = ".";
  open_.clear();
  auto fd = open_for_reading(root_, ".", O_DIRECTORY, path_);
  if (!fd) return fd.error();
  auto stat = stat_beneath(fd->get(), "", path_);
  if (!stat) return stat.error();
  TRANSSHIP_TRY(enter(std::move(fd).value(), *stat, path_));
  while (open_.size() > 1 || !open_.back()->names.empty()) {
    TRANSSHIP_TRY(options_.until.check(options_.doing));
    if (open_.back()->names.empty()) {
      TRANSSHIP_TRY(leave());
    } else {
      TRANSSHIP_TRY(visit_next(visit));
    }
  }
  WalkedEntry root{path_, path_};
  root.directory = open_.back()->fd.get();
  root.stat = open_.back()->stat;
  TRANSSHIP_TRY(visit(root));
  return leave();
}

Status TreeWalk::enter(UniqueFd fd, const struct statx& stat, const std::string& name) {
  auto directory = std::make_unique<Directory>();
  directory->fd = std::move(fd);
  directory->stat = stat;
  directory->path_length = path_.size() - (open_.empty() ? 0 : name.size() + 1);
  TRANSSHIP_TRY(read_names(*directory));
  open_.push_back(std::move(directory));
  if (open_.size() > kHeldDirectories) open_[open_.size() - kHeldDirectories]->fd.reset();
  return {};
}

Status TreeWalk::leave() {
  const auto left = std::move(open_.back());
  auto stat = stat_beneath(left->fd.get(), "", path_);
  if (!stat) return stat.error();
  if (options_.strict && !unchanged(left->stat, *stat)) {
    return Error{ErrorCode::kConflict, "directory " + quoted(path_) +
                                           " changed while it was read: is the pod still running?"};
  }
  open_.pop_back();
  if (!open_.empty() && !open_.back()->fd.valid())
    TRANSSHIP_TRY(reopen(*open_.back(), left->fd.get()));
  if (!open_.empty() && options_.on_left) {
    const std::string name = path_.substr(left->path_length + 1);
    WalkedEntry entry{path_, name, open_.back()->fd.get()};
    entry.stat = left->stat;
    TRANSSHIP_TRY(options_.on_left(entry));
  }
  path_.resize(left->path_length);
  return {};
}

// Up by "..", which a rename meanwhile could turn: so it must be the same directory as before.
Status TreeWalk::reopen(Directory& directory, int child) const {
  UniqueFd fd(::openat(child, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return path_error("open", path_, errno);
  auto stat = stat_beneath(fd.get(), "", path_);
  if (!stat) return stat.error();
  if (!same_file(*stat, directory.stat)) {
    return Error{ErrorCode::kConflict,
                 "directory " + quoted(path_) + " was moved while it was read"};
  }
  directory.fd = std::move(fd);
  return {};
}

Status TreeWalk::visit_next(const Visit& visit) {
  Directory& in = *open_.back();
  const std::string name = std::move(in.names.back().name);
  in.names.pop_back();
  const size_t length = path_.size();
  path_ += '/';
  path_ += name;
  auto stat = stat_beneath(in.fd.get(), name, path_);
  Status done = stat ? visit_entry(visit, *stat, name) : gone(stat.error());
  if (&in == open_.back().get()) path_.resize(length);
  return done;
}

Status TreeWalk::visit_entry(const Visit& visit, const struct statx& stat,
                             const std::string& name) {
  const struct statx& root = open_.front()->stat;
  const bool same_device =
      stat.stx_dev_major == root.stx_dev_major && stat.stx_dev_minor == root.stx_dev_minor;
  if ((stat.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 || !(same_device || options_.subvolumes)) {
    return Error{ErrorCode::kInvalid, quoted(path_) +
                                          " is a mount point or of another file system: a volume "
                                          "must be one file system"};
  }
  WalkedEntry entry{path_, name, open_.back()->fd.get()};
  entry.stat = stat;
  if (!S_ISDIR(stat.stx_mode)) return visit(entry);
  auto fd = open_for_reading(entry.parent, name, O_DIRECTORY, path_);
  if (!fd) return gone(fd.error());
  auto opened = stat_beneath(fd->get(), "", path_);
  if (!opened) return opened.error();
  entry.directory = fd->get();
  entry.stat = *opened;
  TRANSSHIP_TRY(visit(entry));
  return enter(std::move(fd).value(), *opened, name);
}

// In the order of inode numbers, which is about the order on disk.
Status TreeWalk::read_names(Directory& directory) const {
  auto stream = DirectoryStream::open(directory.fd.get());
  if (!stream) return stream.error().during(quoted(path_));
  while (const dirent* found = stream->next())
    directory.names.push_back({found->d_ino, found->d_name});
  if (errno != 0) return path_error("read directory", path_, errno);
  std::sort(directory.names.begin(), directory.names.end(),
            [](const Name& a, const Name& b) { return a.inode > b.inode; });
  return {};
}

Status TreeWalk::gone(const Error& error) const {
  if (error.code != ErrorCode::kNotFound) return error;
  if (!options_.strict) return {};
  return Error{ErrorCode::kConflict, error.message + ": it vanished while the volume was read"};
}

}  // namespace transship::transfer
