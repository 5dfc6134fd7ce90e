#include "transfer/destination.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "base/directory_stream.h"
#include "transfer/beneath.h"
#include "transfer/entry.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

// A default ACL would be inherited, and attributes that the volume's root does not have would stay.
Status drop_inherited(int root, bool projects) {
  const AttributePlace flags{root, "", /*directory=*/true, projects};
  if (!clear_flags(flags)) return errno_error("take the inode flags off the destination", errno);
  const XattrPlace place(root);
  auto xattrs = place.read(".");
  if (!xattrs) return xattrs.error();
  for (const Xattr& xattr : *xattrs) {
    if (!place.remove(xattr.name)) {
      const int error = errno;
      return path_error("remove extended attribute " + quoted(xattr.name) + " of", ".", error);
    }
  }
  // So would set-group-ID and the group.
  if (::fchmod(root, 0700) < 0) return errno_error("set the mode of the destination", errno);
  return {};
}

}  // namespace

Result<bool> prepare_destination(int directory, bool projects) {
  auto root = open_for_reading(directory, ".", O_DIRECTORY, ".");
  if (!root) return root.error();
  auto names = list_directory(root->get());
  if (!names) return names.error().during("the destination");
  bool lost_and_found = false;
  for (const std::string& name : *names) {
    if (name == kLostAndFound) {
      auto found = open_for_reading(root->get(), name, O_DIRECTORY, "./" + name);
      auto inside = found ? list_directory(found->get()) : found.error();
      lost_and_found = inside && inside->empty();
      if (lost_and_found) continue;
    }
    return Error{ErrorCode::kPreconditionFailed,
                 "the destination is not empty: it holds " + quoted(name)};
  }
  TRANSSHIP_TRY(drop_inherited(root->get(), projects));
  return lost_and_found;
}

}  // namespace transship::transfer
