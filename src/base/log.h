// Structured logging: one JSON object a line on standard error, for people and collectors alike.
//
//   log::info("copy finished", {{"volume", name}, {"bytes", std::to_string(n)}});
//
// Keys are camelCase; values are strings and are escaped. Never log a secret, a token or file
// content. Safe from any thread. The seam keeps the library behind it (spdlog) out of every other
// file.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace transship::log {

using Fields = std::initializer_list<std::pair<std::string_view, std::string>>;

enum class Level { kDebug, kInfo, kWarning, kError };

// Sets up the process's logger: `component` is on every line. Call once, first thing in main;
// before that lines go out with component "transship".
void initialize(std::string_view component, Level level);

// "debug", "info", "warning" or "error"; anything else is false and leaves `level` alone.
bool parse_level(std::string_view text, Level& level);

// The name of the level that is set.
std::string_view level_name();

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warning(std::string_view message, Fields fields = {});
void error(std::string_view message, Fields fields = {});

// `text` as the inside of a JSON string: quotes, backslashes, control characters and bytes that are
// not UTF-8 escaped.
std::string json_escape(std::string_view text);

}  // namespace transship::log
