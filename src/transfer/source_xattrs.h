// Reading the extended attributes of what may be in use.
#pragma once

#include <string>

#include "transfer/inventory.h"
#include "transfer/xattrs.h"

namespace transship::transfer {

// Takes the node's carried attributes over; it is not kAsHeld any more where they are others. An
// ACL and the mode are two views of one thing: where they were read at two moments, they may be
// what no file can have. So with an ACL the node's stat is taken anew (of `name` in `directory`, or
// of `directory` itself where that is empty) until both are of one moment. False where that does
// not come to an end: the ACL is left out then, for the next round. With `final`, a change is
// kConflict instead.
Result<bool> take_xattrs(Node& node, const XattrPlace& place, int directory,
                         const std::string& name, bool final);

}  // namespace transship::transfer
