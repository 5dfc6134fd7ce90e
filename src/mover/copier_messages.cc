#include "mover/copier_messages.h"

#include <algorithm>

namespace transship::mover {
namespace {

using nlohmann::json;
using transfer::RoundTotals;
using transfer::Summary;
using transfer::TreeTotals;
using transfer::VolumeOutcome;

constexpr size_t kLongestText = 16 << 10;

// Runs `read`, which takes values out of JSON.
template <typename T, typename Read>
Result<T> parsed(Read read) {
  try {
    return read();
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kCorrupt,
                 std::string("the copier's answer is not understood: ") + problem.what()};
  }
}

TreeTotals read_totals(const json& value) { return {value.at("bytes"), value.at("entries")}; }

Summary read_summary(const json& value) {
  return {read_totals(value), value.at("digest"), value.at("rest")};
}

}  // namespace

json to_value(const Error& error) {
  return {{"code", static_cast<int>(error.code)},
          {"message", error.message.substr(0, kLongestText)}};
}

Error error_of(const json& value) {
  Error error;
  const auto read = parsed<int>([&] {
    error.message = value.at("message");
    return value.at("code").get<int>();
  });
  if (!read) return read.error();
  const bool known = *read >= 0 && *read <= static_cast<int>(ErrorCode::kCorrupt);
  if (known) error.code = static_cast<ErrorCode>(*read);
  return error;
}

json to_value(const TreeTotals& totals) {
  return {{"bytes", totals.bytes}, {"entries", totals.entries}};
}
Result<TreeTotals> totals_of(const json& value) {
  return parsed<TreeTotals>([&] { return read_totals(value); });
}

json to_value(const Summary& summary) {
  return {{"bytes", summary.totals.bytes},
          {"entries", summary.totals.entries},
          {"digest", summary.digest},
          {"rest", summary.rest}};
}
Result<Summary> summary_of(const json& value) {
  return parsed<Summary>([&] { return read_summary(value); });
}

json to_value(const RoundTotals& totals) {
  return {{"bytes", totals.bytes}, {"entries", totals.entries}, {"looked", totals.looked.count()}};
}
Result<RoundTotals> round_of(const json& value) {
  return parsed<RoundTotals>([&] {
    return RoundTotals{value.at("bytes"), value.at("entries"),
                       std::chrono::nanoseconds(value.at("looked").get<int64_t>())};
  });
}

json to_value(const std::vector<VolumeOutcome>& outcomes) {
  json values = json::array();
  for (const VolumeOutcome& one : outcomes) {
    values.push_back(
        {{"name", one.name}, {"sent", to_value(one.sent)}, {"verified", to_value(one.verified)}});
  }
  return values;
}
Result<std::vector<VolumeOutcome>> outcomes_of(const json& value) {
  return parsed<std::vector<VolumeOutcome>>([&] {
    std::vector<VolumeOutcome> outcomes;
    for (const json& one : value) {
      outcomes.push_back(
          {one.at("name"), read_summary(one.at("sent")), read_summary(one.at("verified"))});
    }
    return outcomes;
  });
}

int64_t to_value(const std::optional<transfer::Until::Clock::time_point>& end) {
  if (!end) return -1;
  return std::chrono::nanoseconds(end->time_since_epoch()).count();
}

std::optional<transfer::Until::Clock::time_point> end_of(int64_t value) {
  if (value < 0) return std::nullopt;
  return transfer::Until::Clock::time_point(std::chrono::nanoseconds(value));
}

}  // namespace transship::mover
