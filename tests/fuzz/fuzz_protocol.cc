// What controller and mover say to each other, as JSON. The first letter says what it is. What was
// taken is said again, and must be understood as the same.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "api/mover_protocol.h"

namespace {

using namespace transship::api;

std::string text_of(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

template <typename T, typename Parse>
void play(std::string_view body, Parse parse) {
  const transship::Result<T> first = parse(body);
  if (!first.ok()) {
    if (first.error().message.empty()) __builtin_trap();
    return;
  }
  const std::string again = text_of(to_json_value(*first));
  const transship::Result<T> second = parse(again);
  if (!second.ok() || text_of(to_json_value(*second)) != again) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'R':
      play<TaskRequest>(body, parse_task_request);
      break;
    case 'T':
      play<TaskState>(body, parse_task_state);
      break;
    case 'M':
      play<MoverState>(body, parse_mover_state);
      break;
    default:
      (void)parse_task_kind(body);
  }
  return 0;
}
