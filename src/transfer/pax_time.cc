#include "transfer/pax_time.h"

#include <cstdio>

#include "transfer/pax.h"

namespace transship::transfer {
namespace {

constexpr uint32_t kBillion = 1'000'000'000;
constexpr int64_t kFarthest = int64_t{1} << 62;

}  // namespace

std::string format_pax_time(int64_t seconds, uint32_t nanoseconds) {
  const bool negative = seconds < 0;
  if (negative && nanoseconds > 0) {
    ++seconds;
    nanoseconds = kBillion - nanoseconds;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%s%lld.%09u", negative ? "-" : "",
                static_cast<long long>(negative ? -seconds : seconds), nanoseconds);
  return text;
}

bool parse_pax_time(std::string_view text, int64_t& seconds, uint32_t& nanoseconds) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const size_t point = text.find('.');
  if (point == std::string_view::npos || text.size() - point != 10) return false;
  if (!parse_decimal(text.substr(0, point), seconds) || seconds > kFarthest) return false;
  nanoseconds = 0;
  for (const char c : text.substr(point + 1)) {
    if (c < '0' || c > '9') return false;
    nanoseconds = nanoseconds * 10 + static_cast<uint32_t>(c - '0');
  }
  if (negative) {
    seconds = -seconds;
    if (nanoseconds > 0) {
      --seconds;
      nanoseconds = kBillion - nanoseconds;
    }
  }
  return true;
}

}  // namespace transship::transfer
