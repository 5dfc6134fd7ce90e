#include <sys/stat.h>

#include <unordered_set>

#include "transfer/tree.h"
#include "transfer/tree_walk.h"

namespace transship::transfer {

Result<TreeTotals> scan_tree(int directory, const Until& until, XattrScope xattrs) {
  TreeTotals totals;
  std::unordered_set<uint64_t> linked;  // inodes with several names, counted once
  TreeWalk walk(directory, {/*strict=*/false, until});
  TRANSSHIP_TRY(walk.run([&](const WalkedEntry& walked) -> Status {
    ++totals.entries;
    const bool counted = walked.stat.stx_nlink > 1 && S_ISREG(walked.stat.stx_mode) &&
                         !linked.insert(walked.stat.stx_ino).second;
    if (xattrs == XattrScope::kUpperDirectory) {
      const auto read = (walked.directory >= 0 ? XattrPlace(walked.directory, xattrs)
                                               : XattrPlace(walked.parent, walked.name, xattrs))
                            .read(walked.path);
      if (!read && read.error().code != ErrorCode::kNotFound) return read.error();
    }
    if (S_ISREG(walked.stat.stx_mode) && !counted) {
      totals.bytes += static_cast<int64_t>(walked.stat.stx_size);
    }
    return {};
  }));
  return totals;
}

}  // namespace transship::transfer
