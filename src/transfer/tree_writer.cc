#include "transfer/tree_writer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "transfer/beneath.h"
#include "transfer/destination.h"
#include "transfer/entry_metadata.h"
#include "transfer/entry_path.h"

namespace transship::transfer {
namespace {

constexpr size_t kHeldDirectories = 64;

}  // namespace

struct TreeWriter::Directory {
  UniqueFd fd;  // not valid while too many below it are open
  Entry entry;  // its metadata are set when it is left
  struct statx stat {};
};

TreeWriter::TreeWriter(int root, size_t max_path, bool projects)
    : root_(root), max_path_(max_path), projects_(projects) {}

TreeWriter::~TreeWriter() = default;

Status TreeWriter::begin() {
  auto root = std::make_unique<Directory>();
  root->entry.path = ".";
  auto fd = open_for_reading(root_, ".", O_DIRECTORY, ".");
  if (!fd) return fd.error();
  root->fd = std::move(fd).value();
  auto stat = stat_beneath(root->fd.get(), "", ".");
  if (!stat) return stat.error();
  root->stat = *stat;
  auto lost_and_found = prepare_destination(root->fd.get(), projects_);
  if (!lost_and_found) return lost_and_found.error();
  lost_and_found_ = *lost_and_found;
  open_.push_back(std::move(root));
  return {};
}

Result<std::string> TreeWriter::descend(const std::string& path) {
  TRANSSHIP_TRY(check_entry_path(path, max_path_));
  const SplitPath split = split_path(path);
  while (open_.back()->entry.path != split.parent) {
    if (open_.size() == 1) {
      return corrupt(path, "its directory has not come before it, or was left already");
    }
    TRANSSHIP_TRY(leave());
  }
  return std::string(split.name);
}

Result<UniqueFd> TreeWriter::create_file(const Entry& entry) {
  auto name = descend(entry.path);
  if (!name) return name.error();
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  auto file = open_beneath(open_.back()->fd.get(), *name, flags, entry.path, 0600);
  if (!file && file.error().code == ErrorCode::kAlreadyExists) {
    return creation_error("create", entry.path, EEXIST);
  }
  return file;
}

Status TreeWriter::finish_file(const Entry& entry, int file) {
  remember_locked(entry);
  return set_metadata(file, entry, projects_);
}

Status TreeWriter::create_other(const Entry& entry) {
  auto name = descend(entry.path);
  if (!name) return name.error();
  remember_locked(entry);
  if (entry.kind == EntryKind::kDirectory) return create_directory(entry, *name);
  TRANSSHIP_TRY(create_node(entry, *name));
  return set_metadata(open_.back()->fd.get(), *name, entry, projects_);
}

Status TreeWriter::create_directory(const Entry& entry, const std::string& name) {
  const int parent = open_.back()->fd.get();
  if (lost_and_found_ && open_.size() == 1 && name == kLostAndFound) {
    lost_and_found_ = false;
  } else if (::mkdirat(parent, name.c_str(), 0700) < 0) {
    return creation_error("make directory", entry.path, errno);
  }
  auto fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, entry.path);
  if (!fd) return fd.error();
  auto stat = stat_beneath(fd->get(), "", entry.path);
  if (!stat) return stat.error();
  auto directory = std::make_unique<Directory>();
  directory->fd = std::move(fd).value();
  directory->entry = entry;
  directory->stat = *stat;
  open_.push_back(std::move(directory));
  if (open_.size() > kHeldDirectories) open_[open_.size() - kHeldDirectories]->fd.reset();
  return {};
}

Status TreeWriter::create_node(const Entry& entry, const std::string& name) {
  const int parent = open_.back()->fd.get();
  if (entry.kind == EntryKind::kSymlink) {
    if (entry.link_target.find('\0') != std::string::npos) {
      return corrupt(entry.path, "its target has a NUL byte");
    }
    if (::symlinkat(entry.link_target.c_str(), parent, name.c_str()) == 0) return {};
    return creation_error("make symbolic link", entry.path, errno);
  }
  const mode_t mode = type_bits(entry.kind) | 0600U;
  const dev_t device = makedev(entry.device_major, entry.device_minor);
  if (::mknodat(parent, name.c_str(), mode, device) == 0) return {};
  return creation_error("make special file", entry.path, errno);
}

Status TreeWriter::remember_linkable(const Entry& entry, size_t index) {
  const std::string name(split_path(entry.path).name);
  auto stat = stat_beneath(open_.back()->fd.get(), name, entry.path);
  if (!stat) return stat.error();
  linkable_[entry.path] = {stat->stx_ino, index};
  return {};
}

Result<size_t> TreeWriter::create_link(const std::string& path, const std::string& target) {
  auto name = descend(path);
  if (!name) return name.error();
  const auto known = linkable_.find(target);
  if (known == linkable_.end()) {
    return corrupt(path,
                   "it is a hard link to " + quoted(target) + ", which has not come before it");
  }
  auto parent = open_parent_beneath(root_, target);
  if (!parent) return parent.error();
  const std::string target_name(split_path(target).name);
  const int own = open_.back()->fd.get();
  if (::linkat(parent->get(), target_name.c_str(), own, name->c_str(), 0) < 0) {
    return creation_error("make hard link", path, errno);
  }
  auto stat = stat_beneath(own, *name, path);
  if (!stat) return stat.error();
  if (stat->stx_ino != known->second.inode) {
    return Error{ErrorCode::kConflict,
                 quoted(target) + " was replaced while the volume was written"};
  }
  return known->second.index;
}

Status TreeWriter::leave() {
  const auto left = std::move(open_.back());
  open_.pop_back();
  TRANSSHIP_TRY(set_metadata(left->fd.get(), left->entry, projects_));
  Directory& up = *open_.back();
  if (up.fd.valid()) return {};
  UniqueFd fd(::openat(left->fd.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return path_error("open", up.entry.path, errno);
  auto stat = stat_beneath(fd.get(), "", up.entry.path);
  if (!stat) return stat.error();
  if (!same_file(*stat, up.stat)) {
    return Error{ErrorCode::kConflict,
                 "directory " + quoted(up.entry.path) + " was moved while it was written"};
  }
  up.fd = std::move(fd);
  return {};
}

Status TreeWriter::finish(const Entry& root) {
  while (open_.size() > 1) TRANSSHIP_TRY(leave());
  const int fd = open_.back()->fd.get();
  if (lost_and_found_ && ::unlinkat(fd, std::string(kLostAndFound).c_str(), AT_REMOVEDIR) < 0) {
    return path_error("remove the empty directory", "./lost+found", errno);
  }
  remember_locked(root);
  TRANSSHIP_TRY(set_metadata(fd, root, projects_));
  return lock_all();
}

void TreeWriter::remember_locked(const Entry& entry) {
  if ((entry.attributes.flags & InodeAttributes::kLocking) != 0)
    locked_.push_back({entry.path, entry.kind, entry.attributes});
}

Status TreeWriter::lock_all() {
  for (const Locked& one : locked_) {
    UniqueFd parent;
    std::string name;
    if (one.path != ".") {
      auto opened = open_parent_beneath(root_, one.path);
      if (!opened) return opened.error();
      parent = std::move(opened).value();
      name = split_path(one.path).name;
    }
    const int at = one.path == "." ? open_.back()->fd.get() : parent.get();
    if (const Written failed = lock_inode(at, name, type_bits(one.kind), one.attributes, projects_))
      return write_error(*failed, one.path);
  }
  return {};
}

}  // namespace transship::transfer
