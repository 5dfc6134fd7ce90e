#include "transfer/destination.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "transfer/beneath.h"
#include "transfer/entry.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

Result<std::vector<std::string>> names_in(int directory, const std::string& path) {
  auto own = open_for_reading(directory, ".", O_DIRECTORY, path);
  if (!own) return own.error();
  DIR* raw = ::fdopendir(own->get());
  if (raw == nullptr) return path_error("read directory", path, errno);
  static_cast<void>(own->release());
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(raw, ::closedir);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* found = ::readdir(stream.get())) {
    const std::string name(found->d_name);
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return path_error("read directory", path, errno);
  return names;
}

// A default ACL would be inherited, and attributes that the volume's root does not have would stay.
Status drop_inherited(int root) {
  const XattrPlace place(root);
  auto xattrs = place.read(".");
  if (!xattrs) return xattrs.error();
  for (const Xattr& xattr : *xattrs) TRANSSHIP_TRY(place.remove(xattr.name, "."));
  // So would set-group-ID and the group.
  if (::fchmod(root, 0700) < 0) return errno_error("set the mode of the destination", errno);
  return {};
}

}  // namespace

Result<bool> prepare_destination(int directory) {
  auto root = open_for_reading(directory, ".", O_DIRECTORY, ".");
  if (!root) return root.error();
  auto names = names_in(root->get(), ".");
  if (!names) return names.error();
  bool lost_and_found = false;
  for (const std::string& name : *names) {
    if (name == kLostAndFound) {
      auto found = open_for_reading(root->get(), name, O_DIRECTORY, "./" + name);
      auto inside = found ? names_in(found->get(), "./" + name) : found.error();
      lost_and_found = inside && inside->empty();
      if (lost_and_found) continue;
    }
    return Error{ErrorCode::kPreconditionFailed,
                 "the destination is not empty: it holds " + quoted(name)};
  }
  TRANSSHIP_TRY(drop_inherited(root->get()));
  return lost_and_found;
}

}  // namespace transship::transfer
