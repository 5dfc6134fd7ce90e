#include "transfer/ustar.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <numeric>
#include <string_view>

namespace transship::transfer {
namespace {

// A field's place in the block.
struct Field {
  size_t offset;
  size_t size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kMtime{136, 12}, kChecksum{148, 8}, kType{156, 1}, kLinkName{157, 100}, kMagic{257, 8},
    kMajor{329, 8}, kMinor{337, 8};
constexpr std::string_view kMagicText("ustar\00000", 8);

void put(UstarBlock& block, Field field, std::string_view text) {
  assert(text.size() <= field.size);
  std::copy(text.begin(), text.end(), block.begin() + static_cast<ptrdiff_t>(field.offset));
}

// Octal digits filling all of the field but a final NUL.
void put_octal(UstarBlock& block, Field field, int64_t number) {
  assert(number >= 0);
  std::string digits(field.size - 1, '0');
  for (size_t i = digits.size(); i-- > 0; number >>= 3) {
    digits[i] = static_cast<char>('0' + (number & 7));
  }
  assert(number == 0);
  put(block, field, digits);
}

std::string_view get(const UstarBlock& block, Field field) {
  const std::string_view text(block.data() + field.offset, field.size);
  return text.substr(0, text.find('\0'));
}

int64_t get_octal(const UstarBlock& block, Field field) {
  int64_t number = 0;
  for (const char c : get(block, field)) number = number * 8 + (c & 7);
  return number;
}

void put_checksum(UstarBlock& block) {
  std::fill_n(block.begin() + kChecksum.offset, kChecksum.size, ' ');
  const int64_t sum = std::accumulate(
      block.begin(), block.end(), int64_t{0},
      [](int64_t so_far, char c) { return so_far + static_cast<unsigned char>(c); });
  put_octal(block, {kChecksum.offset, 7}, sum);
  block[kChecksum.offset + 6] = '\0';
}

}  // namespace

UstarBlock encode_ustar(const UstarHeader& header) {
  UstarBlock block{};
  put(block, kName, header.name);
  put_octal(block, kMode, header.mode);
  put_octal(block, kUid, header.uid);
  put_octal(block, kGid, header.gid);
  put_octal(block, kSize, header.size);
  put_octal(block, kMtime, header.mtime);
  block[kType.offset] = header.type;
  put(block, kLinkName, header.link_name);
  put(block, kMagic, kMagicText);
  put_octal(block, kMajor, header.device_major);
  put_octal(block, kMinor, header.device_minor);
  put_checksum(block);
  return block;
}

Result<UstarHeader> decode_ustar(const UstarBlock& block) {
  UstarHeader header;
  header.name = get(block, kName);
  header.mode = static_cast<uint32_t>(get_octal(block, kMode));
  header.uid = get_octal(block, kUid);
  header.gid = get_octal(block, kGid);
  header.size = get_octal(block, kSize);
  header.mtime = get_octal(block, kMtime);
  header.type = block[kType.offset];
  header.link_name = get(block, kLinkName);
  header.device_major = static_cast<uint32_t>(get_octal(block, kMajor));
  header.device_minor = static_cast<uint32_t>(get_octal(block, kMinor));
  UstarBlock again{};
  const bool bounded =
      header.size <= UstarHeader::kSizeMax && header.mtime <= UstarHeader::kSizeMax &&
      header.mode <= UstarHeader::kIdMax && header.uid <= UstarHeader::kIdMax &&
      header.gid <= UstarHeader::kIdMax && header.device_major <= UstarHeader::kIdMax &&
      header.device_minor <= UstarHeader::kIdMax;
  if (bounded) again = encode_ustar(header);
  if (again != block) return Error{ErrorCode::kCorrupt, "a tar header is damaged or foreign"};
  return header;
}

}  // namespace transship::transfer
