// A ustar header block (POSIX.1-2017, pax, "ustar Interchange Format"): the fixed part of a tar
// entry.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace transship::transfer {

inline constexpr size_t kTarBlock = 512;

// Bytes that fill `size` up to whole blocks.
constexpr size_t tar_padding(int64_t size) {
  return (kTarBlock - static_cast<size_t>(size) % kTarBlock) % kTarBlock;
}

struct UstarHeader {
  std::string name;  // at most 100 bytes; longer ones go to a pax record
  uint32_t mode = 0;
  int64_t uid = 0;  // at most kIdMax
  int64_t gid = 0;
  int64_t size = 0;   // at most kSizeMax
  int64_t mtime = 0;  // at most kSizeMax, not negative
  char type = '0';
  std::string link_name;  // at most 100 bytes
  uint32_t device_major = 0;
  uint32_t device_minor = 0;

  static constexpr size_t kNameMax = 100;
  static constexpr int64_t kIdMax = 07777777;
  static constexpr int64_t kSizeMax = 077777777777;
};

using UstarBlock = std::array<char, kTarBlock>;

// The fields must be within their bounds.
UstarBlock encode_ustar(const UstarHeader& header);

// kCorrupt for a wrong checksum and for any block that encode_ustar does not write.
Result<UstarHeader> decode_ustar(const UstarBlock& block);

}  // namespace transship::transfer
