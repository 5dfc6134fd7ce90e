// RFC 4648 base64, as Secrets carry their data.
#pragma once

#include <string>
#include <string_view>

namespace transship::controller {

// Empty for text that is not base64.
std::string base64_decode(std::string_view text);

}  // namespace transship::controller
