#include "mover/tree_removal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/directory_stream.h"
#include "mover/node.h"
#include "transfer/beneath.h"
#include "transfer/entry.h"
#include "transfer/entry_metadata.h"
#include "transfer/tree_walk.h"

namespace transship::mover {
namespace {

constexpr const char* kLostAndFound = "lost+found";

Error refused(const std::string& path, int error) {
  if (error == EBUSY) {
    return Error{ErrorCode::kPreconditionFailed,
                 "remove " + path + ": something is mounted there; unmount it first"};
  }
  return transfer::path_error("remove", path, error);
}

// What is no directory.
Status unlink_entry(int parent, const std::string& name, uint32_t mode, const std::string& path) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EPERM) return refused(path, errno);
  if (const auto failed = transfer::unlock_inode(parent, name, mode, /*projects=*/false))
    return transfer::write_error(*failed, path);
  return ::unlinkat(parent, name.c_str(), 0) == 0 ? Status() : refused(path, errno);
}

// Immutable or append-only, a directory would let nothing go.
Status unlock_directory(int directory, const std::string& path) {
  const auto failed = transfer::unlock_inode(directory, "", S_IFDIR, /*projects=*/false);
  return failed ? transfer::write_error(*failed, path) : Status();
}

Status remove_directory(int parent, const std::string& name, const std::string& path) {
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  return refused(path, errno);
}

Status visit(const transfer::WalkedEntry& walked) {
  if (walked.parent < 0) return {};
  if (walked.directory >= 0) return unlock_directory(walked.directory, walked.path);
  return unlink_entry(walked.parent, walked.name, walked.stat.stx_mode, walked.path);
}

}  // namespace

Status empty_directory(int directory, const Deadline& deadline) {
  auto top = open_beneath(directory, ".", /*cross_mounts=*/false);
  if (!top) return top.error();
  TRANSSHIP_TRY(unlock_directory(top->get(), "."));
  transfer::TreeWalk walk(top->get(), {.strict = false,
                                       .until = {deadline.stop(), deadline.end()},
                                       .doing = "remove files",
                                       .subvolumes = true,
                                       .on_left = [](const transfer::WalkedEntry& left) {
                                         return remove_directory(left.parent, left.name, left.path);
                                       }});
  const Status walked = walk.run(visit);
  if (walked.ok() || walked.error().code != ErrorCode::kInvalid) return walked;
  return Error{ErrorCode::kPreconditionFailed,
               "remove what is there: " + walked.error().message + "; unmount it first"};
}

Status remove_tree(int parent, const std::string& name, const Deadline& deadline) {
  struct stat status {};
  if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? Status() : Status(refused(name, errno));
  if (!S_ISDIR(status.st_mode)) return unlink_entry(parent, name, status.st_mode, name);
  auto top = open_beneath(parent, name, /*cross_mounts=*/false);
  if (!top) return top.error().during("remove " + name);
  TRANSSHIP_TRY(empty_directory(top->get(), deadline));
  return remove_directory(parent, name, name);
}

Result<bool> is_fresh(int directory) {
  auto names = list_directory(directory);
  if (!names) return names.error();
  if (names->empty()) return true;
  if (names->size() > 1 || names->front() != kLostAndFound) return false;
  auto inside = open_beneath(directory, kLostAndFound, /*cross_mounts=*/false);
  if (!inside) return false;
  auto lost = list_directory(inside->get());
  if (!lost) return lost.error();
  return lost->empty();
}

}  // namespace transship::mover
