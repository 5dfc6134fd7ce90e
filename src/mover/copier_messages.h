// What a mover and its copier say to each other, as JSON. What does not have its form is kCorrupt.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "transfer/round_sender.h"
#include "transfer/session.h"
#include "transfer/tree.h"
#include "transfer/until.h"

namespace transship::mover {

nlohmann::json to_value(const Error& error);
Error error_of(const nlohmann::json& value);

nlohmann::json to_value(const transfer::TreeTotals& totals);
Result<transfer::TreeTotals> totals_of(const nlohmann::json& value);

nlohmann::json to_value(const transfer::Summary& summary);
Result<transfer::Summary> summary_of(const nlohmann::json& value);

nlohmann::json to_value(const transfer::RoundTotals& totals);
Result<transfer::RoundTotals> round_of(const nlohmann::json& value);

nlohmann::json to_value(const std::vector<transfer::VolumeOutcome>& outcomes);
Result<std::vector<transfer::VolumeOutcome>> outcomes_of(const nlohmann::json& value);

// The end of `until`: CLOCK_MONOTONIC is the same for all processes. -1: never.
int64_t to_value(const std::optional<transfer::Until::Clock::time_point>& end);
std::optional<transfer::Until::Clock::time_point> end_of(int64_t value);

}  // namespace transship::mover
