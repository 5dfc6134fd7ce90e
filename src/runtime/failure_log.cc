#include "runtime/failure_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "base/time.h"
#include "base/unique_fd.h"

namespace transship::runtime {

void write_log(const Arguments& arguments, std::string_view level, std::string_view message) {
  using nlohmann::json;
  const std::string said = "transship: " + std::string(message);
  const std::string now = format_seconds(std::chrono::system_clock::now());
  const auto quoted = [](const std::string& text) {
    return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  };
  const std::string line =
      arguments.json_log
          ? R"({"level":)" + quoted(std::string(level)) + R"(,"msg":)" + quoted(said) +
                R"(,"time":)" + quoted(now) + "}\n"
          : "time=" + quoted(now) + " level=" + std::string(level) + " msg=" + quoted(said) + "\n";
  const UniqueFd file(
      arguments.log.empty()
          ? -1
          : ::open(arguments.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  const int to = file.valid() ? file.get() : arguments.log.empty() ? 2 : -1;
  if (to >= 0 && ::write(to, line.data(), line.size()) < 0) {
    // There is nobody left to tell.
  }
}

}  // namespace transship::runtime
