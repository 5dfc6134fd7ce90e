// Extended attributes (xattr(7)) of entries: which are carried, reading and setting them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transfer/entry.h"

namespace transship::transfer {

// Of what tree the entries are. In the upper directory of an overlay mount,
// "trusted.overlay.opaque" says that a directory hides the one below it; anywhere else it is
// nothing that is carried.
enum class XattrScope { kVolume, kUpperDirectory };

// user.*, trusted.* but overlayfs's own, security.capability, POSIX ACLs. Not security.selinux and
// other labels, which are the node's policy, and not a file system's own names.
bool is_carried_xattr(std::string_view name, XattrScope scope = XattrScope::kVolume);

// Where an entry's attributes are reached: an open descriptor of a file or directory, or its name
// in an open directory (anything else; symbolic links are not followed).
class XattrPlace {
 public:
  explicit XattrPlace(int fd, XattrScope scope = XattrScope::kVolume) : scope_(scope), fd_(fd) {}
  XattrPlace(int directory, const std::string& name, XattrScope scope = XattrScope::kVolume)
      : scope_(scope), path_("/proc/self/fd/" + std::to_string(directory) + "/" + name) {}

  // The carried ones, sorted by name. `path` is for messages. kInvalid in an upper directory for
  // what means nothing without the layers below it: a directory that was renamed (redirect), a file
  // whose content is below (metacopy).
  [[nodiscard]] Result<std::vector<Xattr>> read(const std::string& path) const;
  // False: errno says why not. To remove what is not there is no failure.
  [[nodiscard]] bool set(const Xattr& xattr) const;
  [[nodiscard]] bool remove(const std::string& name) const;

 private:
  [[nodiscard]] ssize_t list(char* buffer, size_t size) const;
  [[nodiscard]] ssize_t get(const char* name, char* buffer, size_t size) const;

  XattrScope scope_;
  int fd_ = -1;
  std::string path_;
};

}  // namespace transship::transfer
