#include "transfer/directory_handles.h"

#include <fcntl.h>

#include <cerrno>

#include "transfer/beneath.h"

namespace transship::transfer {

Result<DirectoryHandle> DirectoryHandles::open(NodeId directory) {
  const auto found = held_.find(directory);
  if (found != held_.end()) {
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return found->second.handle;
  }
  std::vector<NodeId> missing;  // the deepest first
  DirectoryHandle from;
  for (NodeId at = directory; !from; at = inventory_.at(at).parent) {
    const auto nearest = held_.find(at);
    if (nearest != held_.end()) {
      from = nearest->second.handle;
    } else if (missing.push_back(at); at == kRootNode) {
      break;
    }
  }
  while (!missing.empty()) {
    // Several names at a time, but no path beyond what the kernel takes.
    constexpr size_t kLongest = 2048;
    std::string path;
    NodeId reached = missing.back();
    do {
      reached = missing.back();
      missing.pop_back();
      if (reached == kRootNode) {
        path = ".";
        break;
      }
      (path += path.empty() ? "" : "/") += inventory_.name_of(reached);
    } while (!missing.empty() && path.size() < kLongest);
    auto fd = open_for_reading(from ? from->get() : root_, path, O_DIRECTORY, ".");
    if (!fd) {
      // Something else has a directory's name.
      const bool gone = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
      return Error{gone ? ErrorCode::kNotFound : fd.error().code,
                   quoted(inventory_.path(reached)) + ": " + fd.error().message};
    }
    from = std::make_shared<const UniqueFd>(std::move(fd).value());
    hold(reached, from);
  }
  return from;
}

void DirectoryHandles::hold(NodeId directory, const DirectoryHandle& handle) {
  uses_.push_front(directory);
  held_[directory] = {handle, uses_.begin()};
  if (held_.size() <= kHeld) return;
  held_.erase(uses_.back());
  uses_.pop_back();
}

void DirectoryHandles::forget(NodeId directory) {
  const auto found = held_.find(directory);
  if (found == held_.end()) return;
  uses_.erase(found->second.use);
  held_.erase(found);
}

void DirectoryHandles::clear() {
  held_.clear();
  uses_.clear();
}

}  // namespace transship::transfer
