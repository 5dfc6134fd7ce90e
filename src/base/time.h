// Wall-clock instants as the API writes them: RFC 3339 in UTC.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace transship {

using WallTime = std::chrono::system_clock::time_point;

// "2026-11-24T03:04:46Z": metav1.Time.
std::string format_seconds(WallTime time);

// "2026-11-24T03:04:46.123456Z": metav1.MicroTime.
std::string format_micros(WallTime time);

// Takes both forms, UTC ("Z") only; nullopt for anything else.
std::optional<WallTime> parse_time(std::string_view text);

// Seconds from `from` to `to`, 0 where `from` cannot be read.
double seconds_since(std::string_view from, WallTime to);

}  // namespace transship
