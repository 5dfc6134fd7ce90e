#include "transfer/source_xattrs.h"

#include <algorithm>

#include "transfer/beneath.h"

namespace transship::transfer {

Result<XattrsTaken> take_xattrs(Node& node, const XattrPlace& place, int directory,
                                const std::string& name, bool final) {
  constexpr int kAttempts = 4;
  const auto is_acl = [](const Xattr& xattr) { return xattr.name == "system.posix_acl_access"; };
  const std::string path;
  XattrsTaken taken;
  for (int i = 0;; ++i) {
    auto xattrs = place.read(path);
    if (!xattrs) return xattrs.error();
    const bool has_acl = std::any_of(xattrs->begin(), xattrs->end(), is_acl);
    if (has_acl) {
      auto now = stat_beneath(directory, name, path);
      if (!now) return now.error();
      const NodeStat stat = node_stat(*now);
      taken.sure = !node.differs(stat);
      if (!taken.sure && final) {
        return Error{ErrorCode::kConflict,
                     "its mode or ACL changed while it was read: is the pod still running?"};
      }
      const bool is_same = stat.inode == node.inode && (stat.mode & S_IFMT) == (node.mode & S_IFMT);
      if (!taken.sure && is_same && i < kAttempts) {
        node.take(stat);
        taken.changed = true;
        continue;
      }
      if (!taken.sure) std::erase_if(*xattrs, is_acl);
    } else {
      taken.sure = true;
    }
    if (node.extra ? !(node.extra->xattrs == *xattrs) : !xattrs->empty()) {
      node.more().xattrs = *xattrs;
      taken.changed = true;
    }
    return taken;
  }
}

Result<bool> take_flags(Node& node, int directory, const std::string& name, const ProjectIds& ids) {
  InodeAttributes found;
  const AttributePlace place{directory, name, node.is_directory(), ids.carried};
  if (!read_attributes(place, found)) return errno_error("read the inode flags", errno);
  ids.translate(place, found);
  const bool changed = found != node.attributes();
  node.set_attributes(found);
  return changed;
}

}  // namespace transship::transfer
