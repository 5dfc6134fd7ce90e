// The paths of entries: "." for the root, else "./" and the components.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace transship::transfer {

// "./a/b" is {"./a", "b"}, "./a" is {".", "a"}.
struct SplitPath {
  std::string_view parent;
  std::string_view name;
};
SplitPath split_path(std::string_view path);

// kCorrupt unless it is such a path, with no component that is empty, ".", "..", longer than
// NAME_MAX (255) or has a NUL; not the root.
Status check_entry_path(std::string_view path, size_t max_bytes);

}  // namespace transship::transfer
