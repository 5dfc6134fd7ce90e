// Pax extended header records, "LENGTH KEY=VALUE\n" (POSIX.1-2017, pax, "pax Extended Header").
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace transship::transfer {

using PaxRecords = std::vector<std::pair<std::string, std::string>>;

void append_pax_record(std::string& text, std::string_view key, std::string_view value);

// kCorrupt unless `text` is nothing but whole records.
Result<PaxRecords> parse_pax_records(std::string_view text);

// A decimal number without sign, leading zeros or anything else; false where it is not one or does
// not fit.
bool parse_decimal(std::string_view text, int64_t& number);

}  // namespace transship::transfer
