#include "transfer/xattrs.h"

#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>

namespace transship::transfer {
namespace {

constexpr std::string_view kOpaque = "trusted.overlay.opaque";

// An entry that is not whole without what lies below.
Status check_whole(std::string_view name, const std::string& path) {
  if (name != "trusted.overlay.redirect" && name != "trusted.overlay.metacopy" &&
      name != "trusted.overlay.whiteout")
    return {};
  return Error{ErrorCode::kInvalid,
               quoted(path) + " has " + std::string(name) +
                   ": it means something only above the very layers it was made on. Have overlay "
                   "mounts made without redirect_dir and metacopy (the node's overlay module has "
                   "these as parameters), and the container made anew"};
}

}  // namespace

bool is_carried_xattr(std::string_view name, XattrScope scope) {
  return name.starts_with("user.") || (scope == XattrScope::kUpperDirectory && name == kOpaque) ||
         (name.starts_with("trusted.") && !name.starts_with("trusted.overlay.") &&
          !name.starts_with("trusted.SGI_ACL_")) ||  // XFS's other view of its ACLs
         name == "security.capability" ||
         name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

ssize_t XattrPlace::list(char* buffer, size_t size) const {
  return fd_ >= 0 ? ::flistxattr(fd_, buffer, size) : ::llistxattr(path_.c_str(), buffer, size);
}

ssize_t XattrPlace::get(const char* name, char* buffer, size_t size) const {
  return fd_ >= 0 ? ::fgetxattr(fd_, name, buffer, size)
                  : ::lgetxattr(path_.c_str(), name, buffer, size);
}

Result<std::vector<Xattr>> XattrPlace::read(const std::string& path) const {
  std::vector<Xattr> xattrs;
  char small[1024];  // most entries have none or few names
  ssize_t length = list(small, sizeof small);
  std::string names;
  if (length < 0 && errno == ERANGE) {
    names.resize(65536);  // XATTR_LIST_MAX
    length = list(names.data(), names.size());
  } else if (length > 0) {
    names.assign(small, static_cast<size_t>(length));
  }
  if (length < 0 && errno == ENOTSUP) return xattrs;
  if (length < 0) return path_error("list the extended attributes of", path, errno);
  names.resize(static_cast<size_t>(length));
  for (size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
    const char* name = names.c_str() + at;
    if (scope_ == XattrScope::kUpperDirectory) TRANSSHIP_TRY(check_whole(name, path));
    if (!is_carried_xattr(name, scope_)) continue;
    std::string value(65536, '\0');  // XATTR_SIZE_MAX
    const ssize_t size = get(name, value.data(), value.size());
    if (size < 0 && errno == ENODATA) continue;  // removed since it was listed
    if (size < 0)
      return path_error(std::string("read extended attribute ") + name + " of", path, errno);
    xattrs.push_back({name, value.substr(0, static_cast<size_t>(size))});
  }
  std::sort(xattrs.begin(), xattrs.end(),
            [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  return xattrs;
}

bool XattrPlace::set(const Xattr& xattr) const {
  const char* name = xattr.name.c_str();
  const int failed =
      fd_ >= 0 ? ::fsetxattr(fd_, name, xattr.value.data(), xattr.value.size(), 0)
               : ::lsetxattr(path_.c_str(), name, xattr.value.data(), xattr.value.size(), 0);
  return failed == 0;
}

bool XattrPlace::remove(const std::string& name) const {
  const int failed =
      fd_ >= 0 ? ::fremovexattr(fd_, name.c_str()) : ::lremovexattr(path_.c_str(), name.c_str());
  return failed == 0 || errno == ENODATA;
}

}  // namespace transship::transfer
