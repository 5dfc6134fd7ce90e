#include "mover/volume_copy.h"

#include "transfer/tree.h"

namespace transship::mover {

Status copy_volume(int from, int to, const std::string& digest, const Deadline& deadline) {
  auto copied = transfer::copy_tree(from, to, {deadline.stop(), deadline.end()}, nullptr,
                                    /*projects=*/false);
  if (!copied) return copied.error();
  if (digest.empty() || copied->digest == digest) return {};
  return Error{ErrorCode::kCorrupt,
               "the copy's digest is " + copied->digest + ", what was received had " + digest};
}

}  // namespace transship::mover
