#include "transfer/entry_path.h"

#include <climits>

#include "transfer/entry.h"

namespace transship::transfer {

SplitPath split_path(std::string_view path) {
  const size_t slash = path.rfind('/');
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Status check_entry_path(std::string_view path, size_t max_bytes) {
  if (path.size() > max_bytes) return corrupt(path, "its path is too long");
  if (path.find('\0') != std::string_view::npos) return corrupt(path, "its path has a NUL byte");
  if (!path.starts_with("./")) return corrupt(path, "its path does not begin with \"./\"");
  std::string_view rest = path.substr(2);
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    if (name.empty() || name == "." || name == ".." || name.size() > NAME_MAX) {
      return corrupt(path,
                     "its path has a component " + quoted(name) + ", which no entry can have");
    }
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace transship::transfer
