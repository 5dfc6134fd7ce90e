#include "base/time.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace transship {
namespace {

std::string format(WallTime time, bool micros) {
  const auto since_epoch = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const std::time_t whole = seconds.count();
  std::tm parts{};
  gmtime_r(&whole, &parts);
  std::array<char, 40> text{};
  size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(text.data(), length);
  if (micros) {
    const auto fraction =
        std::chrono::duration_cast<std::chrono::microseconds>(since_epoch - seconds);
    std::array<char, 24> digits{};
    std::snprintf(digits.data(), digits.size(), ".%06lld",
                  static_cast<long long>(fraction.count()));
    out += digits.data();
  }
  return out + "Z";
}

}  // namespace

std::string format_seconds(WallTime time) { return format(time, false); }
std::string format_micros(WallTime time) { return format(time, true); }

std::optional<WallTime> parse_time(std::string_view text) {
  const std::string copy(text);
  std::tm parts{};
  const char* rest = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  int64_t micros = 0;
  if (*rest == '.') {
    int64_t scale = 100000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, scale /= 10) micros += (*rest - '0') * scale;
  }
  if (std::string_view(rest) != "Z") return std::nullopt;
  return WallTime(std::chrono::seconds(timegm(&parts)) + std::chrono::microseconds(micros));
}

double seconds_since(std::string_view from, WallTime to) {
  const auto start = parse_time(from);
  if (!start) return 0;
  // Whole milliseconds: more digits would only look exact.
  const auto passed = std::chrono::round<std::chrono::milliseconds>(to - *start);
  return static_cast<double>(passed.count()) / 1000;
}

}  // namespace transship
