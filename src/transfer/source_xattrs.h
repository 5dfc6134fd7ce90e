// Reading the extended attributes, inode flags and project id of what may be in use.
#pragma once

#include <string>

#include "transfer/inventory.h"
#include "transfer/project_ids.h"
#include "transfer/xattrs.h"

namespace transship::transfer {

struct XattrsTaken {
  bool sure = true;
  bool changed = false;  // the node had others, or another mode, owner or time
};

// Takes the node's carried attributes over. An ACL and the mode are two views of one thing: where
// they were read at two moments, they may be what no file can have. So with an ACL the node's stat
// is taken anew (of `name` in `directory`, or of `directory` itself where that is empty) until both
// are of one moment. Not sure where that does not come to an end: the ACL is left out then, for the
// next round. With `final`, a change is kConflict instead.
Result<XattrsTaken> take_xattrs(Node& node, const XattrPlace& place, int directory,
                                const std::string& name, bool final);

// Takes over what the target is to have of the inode's flags and project id. Place as above. True:
// the node had others.
Result<bool> take_flags(Node& node, int directory, const std::string& name, const ProjectIds& ids);

}  // namespace transship::transfer
