#include "transfer/kept_xattrs.h"

#include <cstring>

namespace transship::transfer {
namespace {

void append(SpillString& out, const std::string& text) {
  const auto length = static_cast<uint32_t>(text.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof length).append(text);
}

std::string_view take(std::string_view& rest) {
  uint32_t length = 0;
  std::memcpy(&length, rest.data(), sizeof length);
  const std::string_view text = rest.substr(sizeof length, length);
  rest.remove_prefix(sizeof length + length);
  return text;
}

}  // namespace

KeptXattrs& KeptXattrs::operator=(std::span<const Xattr> xattrs) {
  SpillString text;
  for (const Xattr& xattr : xattrs) {
    append(text, xattr.name);
    append(text, xattr.value);
  }
  text.shrink_to_fit();
  text_ = std::move(text);
  return *this;
}

std::vector<Xattr> KeptXattrs::read() const {
  std::vector<Xattr> xattrs;
  for (std::string_view rest = text_; !rest.empty();) {
    const std::string_view name = take(rest);
    xattrs.push_back({std::string(name), std::string(take(rest))});
  }
  return xattrs;
}

bool KeptXattrs::has(std::string_view name) const {
  for (std::string_view rest = text_; !rest.empty(); (void)take(rest)) {
    if (take(rest) == name) return true;
  }
  return false;
}

bool KeptXattrs::operator==(const std::vector<Xattr>& xattrs) const {
  KeptXattrs others;
  others = xattrs;
  return *this == others;
}

}  // namespace transship::transfer
