// A ContainerMigration as an API server without its schema could hand it over. The status that was
// understood is written again, and must then be understood as the same.
#include <nlohmann/json.hpp>
#include <string_view>

#include "api/migration.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace transship::api;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  nlohmann::json object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return 0;
  const auto first = parse_migration(object);
  if (!first.ok()) {
    if (first.error().message.empty()) __builtin_trap();
    return 0;
  }
  object["status"] = status_to_json(first->status);
  const auto second = parse_migration(object);
  if (!second.ok() || !(second->status == first->status)) __builtin_trap();
  return 0;
}
