#include "transfer/pax.h"

#include <charconv>
#include <cstdint>

namespace transship::transfer {

void append_pax_record(std::string& text, std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;  // the blank, the '=' and the newline
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) {
    length = std::to_string(length).size() + rest;
  }
  text += std::to_string(length);
  text += ' ';
  text += key;
  text += '=';
  text += value;
  text += '\n';
}

Result<PaxRecords> parse_pax_records(std::string_view text) {
  const Error malformed{ErrorCode::kCorrupt, "a pax header is malformed"};
  PaxRecords records;
  while (!text.empty()) {
    const size_t blank = text.substr(0, 12).find(' ');
    int64_t length = 0;
    if (blank == std::string_view::npos || !parse_decimal(text.substr(0, blank), length) ||
        static_cast<size_t>(length) > text.size() || static_cast<size_t>(length) < blank + 4 ||
        text[static_cast<size_t>(length) - 1] != '\n') {
      return malformed;
    }
    const std::string_view record = text.substr(blank + 1, static_cast<size_t>(length) - blank - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) return malformed;
    records.emplace_back(record.substr(0, equals), record.substr(equals + 1));
    text.remove_prefix(static_cast<size_t>(length));
  }
  return records;
}

bool parse_decimal(std::string_view text, int64_t& number) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return false;
  if (text.size() > 1 && text.front() == '0') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace transship::transfer
