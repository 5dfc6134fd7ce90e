#include "runtime/shared_memory.h"

#include <algorithm>

#include "runtime/claim_text.h"
#include "runtime/tree_build.h"

namespace transship::runtime {

Status fill_shared_memory(const std::string& staged, const Bundle& bundle) {
  const auto mount = std::find_if(bundle.mounts.begin(), bundle.mounts.end(), [](const auto& each) {
    return each.destination == "/dev/shm" && each.type == "bind";
  });
  if (mount == bundle.mounts.end() || mount->source == "/dev/shm" ||
      !is_plain_path(mount->source)) {
    return Error{ErrorCode::kPreconditionFailed,
                 "the container " + bundle.container +
                     " has no /dev/shm of its pod to put the pod's shared memory into"};
  }
  return build_tree(staged, mount->source, BuildMode::kCopy);
}

}  // namespace transship::runtime
