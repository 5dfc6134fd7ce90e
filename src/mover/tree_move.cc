#include "mover/tree_move.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "base/directory_stream.h"
#include "transfer/beneath.h"
#include "transfer/entry.h"
#include "transfer/inode_attributes.h"
#include "transfer/tree_walk.h"

namespace transship::mover {
namespace {

using transfer::InodeAttributes;

Result<std::set<std::string>> xattr_names(int fd) {
  std::vector<char> names;
  for (;;) {
    const ssize_t need = ::flistxattr(fd, nullptr, 0);
    if (need < 0 && errno == ENOTSUP) return std::set<std::string>{};
    if (need < 0) return errno_error("list extended attributes", errno);
    names.resize(static_cast<size_t>(need));
    const ssize_t got = ::flistxattr(fd, names.data(), names.size());
    if (got < 0 && errno == ERANGE) continue;
    if (got < 0) return errno_error("list extended attributes", errno);
    names.resize(static_cast<size_t>(got));
    break;
  }
  std::set<std::string> out;
  for (size_t begin = 0; begin < names.size();) {
    const std::string name(&names[begin]);
    begin += name.size() + 1;
    out.insert(name);
  }
  out.erase("security.selinux");
  return out;
}

Result<std::vector<char>> xattr_value(int fd, const std::string& name) {
  for (;;) {
    const ssize_t need = ::fgetxattr(fd, name.c_str(), nullptr, 0);
    if (need < 0) return errno_error("read extended attribute " + name, errno);
    std::vector<char> value(static_cast<size_t>(need));
    const ssize_t got = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (got < 0 && errno == ERANGE) continue;
    if (got < 0) return errno_error("read extended attribute " + name, errno);
    value.resize(static_cast<size_t>(got));
    return value;
  }
}

Status copy_xattrs(int from, int to) {
  auto wanted = xattr_names(from);
  if (!wanted) return wanted.error();
  auto present = xattr_names(to);
  if (!present) return present.error();
  for (const std::string& name : *present) {
    if (wanted->count(name) != 0) continue;
    if (::fremovexattr(to, name.c_str()) != 0 && errno != ENODATA) {
      return errno_error("remove extended attribute " + name, errno);
    }
  }
  for (const std::string& name : *wanted) {
    auto value = xattr_value(from, name);
    if (!value) return value.error();
    if (::fsetxattr(to, name.c_str(), value->data(), value->size(), 0) != 0) {
      return errno_error("set extended attribute " + name, errno);
    }
  }
  return {};
}

// But those that forbid changes, which come last.
Status copy_flags(int from, int to) {
  InodeAttributes attributes;
  if (!transfer::read_attributes({from, "", /*directory=*/true, /*projects=*/false}, attributes))
    return errno_error("read the flags of the volume's root", errno);
  attributes.flags &= static_cast<uint8_t>(~InodeAttributes::kLocking);
  if (const auto failed =
          transfer::set_attributes({to, "", /*directory=*/true, /*projects=*/false}, attributes))
    return errno_error("set " + failed->what + " of the volume's root", failed->error);
  return {};
}

// What lies open is changed by its descriptor, all else by its name.
Status give_project_to(const transfer::WalkedEntry& walked, uint32_t project) {
  const bool directory = walked.directory >= 0;
  UniqueFd file;
  if (S_ISREG(walked.stat.stx_mode)) {
    auto opened = transfer::open_for_reading(walked.parent, walked.name, 0, walked.path);
    if (!opened) return opened.error();
    file = std::move(opened).value();
  }
  const int opened = directory ? walked.directory : file.get();
  const transfer::AttributePlace place{opened >= 0 ? opened : walked.parent,
                                       opened >= 0 ? "" : walked.name, directory};
  InodeAttributes attributes;
  if (!transfer::read_attributes(place, attributes))
    return transfer::path_error("read the project id of", walked.path, errno);
  attributes.project = project;
  if (directory) attributes.flags |= InodeAttributes::kProjectInherit;
  const auto failed = transfer::set_attributes(place, attributes);
  if (!failed || opened < 0) return {};
  return transfer::path_error("set " + failed->what + " of", walked.path, failed->error);
}

}  // namespace

Status move_children(int from, int to, const Deadline& deadline) {
  // All names first: renaming while listing may show an entry twice or not at all.
  auto names = list_directory(from);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    TRANSSHIP_TRY(deadline.check("move " + name));
    if (::renameat2(from, name.c_str(), to, name.c_str(), RENAME_NOREPLACE) == 0) continue;
    if (errno == EEXIST) {
      return Error{ErrorCode::kPreconditionFailed, "move " + name + ": it is already there"};
    }
    if (errno == EXDEV) {
      return Error{ErrorCode::kPreconditionFailed,
                   "move " + name +
                       ": source and volume are on different file systems or mounts, or the volume "
                       "has a project id that it does not have"};
    }
    return errno_error("move " + name, errno);
  }
  return {};
}

Result<bool> hands_project_down(int directory) {
  InodeAttributes found;
  if (!transfer::read_attributes({directory, "", /*directory=*/true}, found))
    return errno_error("read the project id of the volume", errno);
  return (found.flags & InodeAttributes::kProjectInherit) != 0;
}

Status give_project(int from, int to, const Deadline& deadline) {
  InodeAttributes given;
  if (!transfer::read_attributes({to, "", /*directory=*/true}, given))
    return errno_error("read the project id of the volume", errno);
  if ((given.flags & InodeAttributes::kProjectInherit) == 0) return {};
  transfer::TreeWalk walk(from, {.strict = false,
                                 .until = {deadline.stop(), deadline.end()},
                                 .doing = "give the content the volume's project id"});
  return walk.run([&](const transfer::WalkedEntry& walked) {
    return walked.parent < 0 ? Status() : give_project_to(walked, given.project);
  });
}

Status copy_root_metadata(int from, int to, timespec modified) {
  struct stat status {};
  if (::fstat(from, &status) != 0) return errno_error("stat the volume's root", errno);
  if (::fchown(to, status.st_uid, status.st_gid) != 0) {
    return errno_error("set the owner of the volume's root", errno);
  }
  TRANSSHIP_TRY(copy_xattrs(from, to));
  if (::fchmod(to, status.st_mode & 07777U) != 0) {
    return errno_error("set the mode of the volume's root", errno);
  }
  if (const Status copied = copy_flags(from, to); !copied.ok()) return copied;
  const std::array<timespec, 2> times = {{{0, UTIME_OMIT}, modified}};
  if (::futimens(to, times.data()) != 0)
    return errno_error("set the time of the volume's root", errno);
  return {};
}

}  // namespace transship::mover
