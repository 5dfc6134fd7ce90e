#include "controller/base64.h"

#include <openssl/evp.h>

#include <algorithm>
#include <vector>

namespace transship::controller {

std::string base64_decode(std::string_view text) {
  std::vector<unsigned char> out(text.size() / 4 * 3 + 3);
  const int length =
      EVP_DecodeBlock(out.data(), reinterpret_cast<const unsigned char*>(text.data()),
                      static_cast<int>(text.size()));
  if (length < 0) return "";
  // EVP_DecodeBlock counts the padding as bytes.
  const auto padding =
      std::count(text.end() - std::min<std::ptrdiff_t>(2, std::ssize(text)), text.end(), '=');
  return {reinterpret_cast<const char*>(out.data()), static_cast<size_t>(length - padding)};
}

}  // namespace transship::controller
