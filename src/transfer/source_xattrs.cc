#include "transfer/source_xattrs.h"

#include <algorithm>

#include "transfer/beneath.h"

namespace transship::transfer {

Result<bool> take_xattrs(Node& node, const XattrPlace& place, int directory,
                         const std::string& name, bool final) {
  constexpr int kAttempts = 4;
  const auto is_acl = [](const Xattr& xattr) { return xattr.name == "system.posix_acl_access"; };
  const std::string path;
  for (int i = 0;; ++i) {
    auto xattrs = place.read(path);
    if (!xattrs) return xattrs.error();
    const bool has_acl = std::any_of(xattrs->begin(), xattrs->end(), is_acl);
    bool sure = !has_acl;
    if (has_acl) {
      auto now = stat_beneath(directory, name, path);
      if (!now) return now.error();
      const NodeStat stat = node_stat(*now);
      sure = !node.differs(stat);
      if (!sure && final) {
        return Error{ErrorCode::kConflict,
                     "its mode or ACL changed while it was read: is the pod still running?"};
      }
      const bool is_same = stat.inode == node.inode && (stat.mode & S_IFMT) == (node.mode & S_IFMT);
      if (!sure && is_same && i < kAttempts) {
        node.take(stat);
        continue;
      }
      if (!sure) std::erase_if(*xattrs, is_acl);
    }
    if (node.has(Node::kAsHeld) && (node.extra ? node.extra->xattrs != *xattrs : !xattrs->empty()))
      node.clear(Node::kAsHeld);
    if (node.extra || !xattrs->empty()) node.more().xattrs = std::move(*xattrs);
    return sure;
  }
}

}  // namespace transship::transfer
