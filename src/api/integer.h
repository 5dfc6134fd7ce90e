// Integers of JSON objects, for this room's .cc files.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace transship::api {

// The field's value; `otherwise` where it is absent. Throws std::invalid_argument, with the field's
// name, for anything that is no integer of the type: the JSON library converts fractions too, and
// one beyond the type's range is undefined.
template <typename Integer>
Integer integer(const nlohmann::json& object, const char* field, Integer otherwise) {
  if (!object.is_object()) throw std::invalid_argument("not an object");
  const auto found = object.find(field);
  if (found == object.end()) return otherwise;
  using Limits = std::numeric_limits<Integer>;
  if (found->is_number_unsigned()) {
    if (found->get<uint64_t>() <= static_cast<uint64_t>(Limits::max()))
      return static_cast<Integer>(found->get<uint64_t>());
  } else if (found->is_number_integer()) {
    const auto value = found->get<int64_t>();
    if (value >= Limits::min() && value <= Limits::max()) return static_cast<Integer>(value);
  }
  throw std::invalid_argument(std::string("field ") + field + ": not an integer that fits");
}

// The same, of a field that has to be there.
inline int required_integer(const nlohmann::json& object, const char* field) {
  (void)object.at(field);
  return integer(object, field, 0);
}

}  // namespace transship::api
