// Times in pax records: decimal seconds, a minus sign for those before 1970 (POSIX.1-2017, pax,
// "mtime").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace transship::transfer {

// Always with nine digits of fraction; {-2, 500000000} is "-1.500000000".
std::string format_pax_time(int64_t seconds, uint32_t nanoseconds);
bool parse_pax_time(std::string_view text, int64_t& seconds, uint32_t& nanoseconds);

}  // namespace transship::transfer
