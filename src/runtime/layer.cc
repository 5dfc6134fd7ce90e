#include "runtime/layer.h"

#include <sys/stat.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include "runtime/overlay_mount.h"
#include "runtime/tree_build.h"

namespace transship::runtime {

Status apply_layer(const std::string& staged, const std::string& rootfs) {
  struct stat status {};
  if (::lstat(staged.c_str(), &status) != 0) {
    return errno_error("find the layer that was moved, " + staged, errno);
  }
  if (!S_ISDIR(status.st_mode)) {
    return Error{ErrorCode::kInvalid, "the layer that was moved, " + staged + ", is no directory"};
  }
  // mountinfo has it without symbolic links.
  char target[PATH_MAX];
  if (::realpath(rootfs.c_str(), target) == nullptr) {
    return errno_error("find the container's root " + rootfs, errno);
  }
  const auto overlay = OverlayMount::find(target);
  if (!overlay) return overlay.error();
  TRANSSHIP_TRY(overlay->unmount());
  Status built = empty_tree(overlay->upper);
  if (built.ok()) built = build_tree(staged, overlay->upper, BuildMode::kLink);
  const Status mounted = overlay->mount();
  return built.ok() ? mounted : built;
}

}  // namespace transship::runtime
