// Files that are there whole, or as they were before, after a crash.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace transship::runtime {

// The file's text, at most 64 MiB; nullopt where there is none. A symbolic link is an error.
Result<std::optional<std::string>> read_file(const std::string& path);

// Written aside with mode 0600, synced, renamed over `path`, and the directory synced.
Status replace_file(const std::string& path, std::string_view text);

Status sync_directory(const std::string& path);

// The directory and those above it that are missing, mode 0700; synced where one was made.
Status make_directories(const std::string& path);

}  // namespace transship::runtime
