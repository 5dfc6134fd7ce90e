// Trees that are hard to copy: everything a Linux file system can hold, and random ones.
#pragma once

#include <cstdint>
#include <string>

namespace transship::transfer {

struct HostileOptions {
  bool deep = true;           // a path longer than PATH_MAX
  bool strange_names = true;  // newlines, bytes that are not UTF-8, 255 bytes
};

// Fills the directory. Needs root for owners, devices and trusted.*.
void make_hostile_tree(const std::string& directory, const HostileOptions& options = {});

// Some hundred entries of all kinds, the same for the same seed.
void make_random_tree(const std::string& directory, uint32_t seed);

}  // namespace transship::transfer
