#include "transfer/pax_keys.h"

#include <cstdint>

namespace transship::transfer {
namespace pax {

std::string xattr_key(std::string_view name) {
  std::string key(kXattr);
  for (const char c : name) {
    if (c == '%') {
      key += "%25";
    } else if (c == '=') {
      key += "%3D";
    } else {
      key += c;
    }
  }
  return key;
}

std::string xattr_name(std::string_view key) {
  key.remove_prefix(kXattr.size());
  std::string name;
  while (!key.empty()) {
    const bool percent = key.starts_with("%25");
    if (percent || key.starts_with("%3D")) {
      name += percent ? '%' : '=';
      key.remove_prefix(3);
    } else {
      name += key.front();
      key.remove_prefix(1);
    }
  }
  return name;
}

}  // namespace pax

bool is_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = byte(i);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    if (lead == 0xE0 && byte(i + 1) < 0xA0) return false;  // overlong
    if (lead == 0xED && byte(i + 1) > 0x9F) return false;  // surrogates
    if (lead == 0xF0 && byte(i + 1) < 0x90) return false;  // overlong
    if (lead == 0xF4 && byte(i + 1) > 0x8F) return false;  // beyond U+10FFFF
    i += length;
  }
  return true;
}

}  // namespace transship::transfer
