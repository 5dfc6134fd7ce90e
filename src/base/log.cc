#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdint>
#include <memory>

namespace transship::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> make_logger(std::string_view component, Level level) {
  auto logger = std::make_shared<spdlog::logger>(std::string(component),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  // The line's inside is already JSON (see write): spdlog only puts time, level and component
  // before it.
  logger->set_pattern(R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","component":"%n",%v})",
                      spdlog::pattern_time_type::utc);
  logger->set_level(to_spdlog(level));
  logger->flush_on(spdlog::level::debug);
  return logger;
}

std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance = make_logger("transship", Level::kInfo);
  return instance;
}

void write(spdlog::level::level_enum level, std::string_view message, Fields fields) {
  if (!logger()->should_log(level)) return;
  std::string line = R"("msg":")" + json_escape(message) + '"';
  for (const auto& [key, value] : fields) {
    line += ",\"";
    line += key;
    line += "\":\"" + json_escape(value) + '"';
  }
  logger()->log(level, "{}", line);
}

// The length of the valid UTF-8 sequence that `text` starts with, 0 if there is none (RFC 3629).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto continued = [&](size_t from, size_t to) {
    if (text.size() < to) return false;
    for (size_t i = from; i < to; ++i) {
      if ((byte(i) & 0xC0U) != 0x80U) return false;
    }
    return true;
  };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF && continued(1, 2)) return 2;
  if (first >= 0xE0 && first <= 0xEF && continued(1, 3) && !(first == 0xE0 && byte(1) < 0xA0) &&
      !(first == 0xED && byte(1) > 0x9F)) {
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4 && continued(1, 4) && !(first == 0xF0 && byte(1) < 0x90) &&
      !(first == 0xF4 && byte(1) > 0x8F)) {
    return 4;
  }
  return 0;
}

}  // namespace

std::string json_escape(std::string_view text) {
  static constexpr std::array kHex = {'0', '1', '2', '3', '4', '5', '6', '7',
                                      '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};
  std::string out;
  out.reserve(text.size() + 8);
  const auto hex = [&](uint8_t byte) {
    out += "\\u00";
    out += kHex.at(byte >> 4U);
    out += kHex.at(byte & 0xFU);
  };
  while (!text.empty()) {
    const auto byte = static_cast<uint8_t>(text[0]);
    size_t length = utf8_length(text);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[0];
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F || length == 0) {
      hex(byte);
      length = 1;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

void initialize(std::string_view component, Level level) {
  logger() = make_logger(component, level);
}

std::string_view level_name() {
  switch (logger()->level()) {
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::warn:
      return "warning";
    case spdlog::level::err:
      return "error";
    default:
      return "info";
  }
}

bool parse_level(std::string_view text, Level& level) {
  if (text == "debug")
    level = Level::kDebug;
  else if (text == "info")
    level = Level::kInfo;
  else if (text == "warning")
    level = Level::kWarning;
  else if (text == "error")
    level = Level::kError;
  else
    return false;
  return true;
}

void debug(std::string_view message, Fields fields) {
  write(spdlog::level::debug, message, fields);
}
void info(std::string_view message, Fields fields) { write(spdlog::level::info, message, fields); }
void warning(std::string_view message, Fields fields) {
  write(spdlog::level::warn, message, fields);
}
void error(std::string_view message, Fields fields) { write(spdlog::level::err, message, fields); }

}  // namespace transship::log
