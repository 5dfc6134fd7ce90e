// A claim's files as text: JSON, read strictly.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "runtime/claim.h"

namespace transship::runtime {

// A single path component of letters, digits, '-', '_' and '.', not beginning with '.', at most 253
// bytes: every pod UID and container name is one.
bool is_plain_name(std::string_view name);

// Absolute, and without empty, "." or ".." components.
bool is_plain_path(std::string_view path);

// kInvalid names the field.
Status validate(const Claim& claim);

std::string claim_text(const Claim& claim);
Result<Claim> parse_claim(std::string_view text);

std::string state_text(const ContainerState& state);  // one line
Result<ContainerState> parse_state(std::string_view text);

}  // namespace transship::runtime
