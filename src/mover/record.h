// Records: small JSON files that must survive the mover and a power cut, e.g. which destination is
// ours.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace transship::mover {

// The record `name` in `directory`; nullopt where there is none; kCorrupt where it is no JSON
// object.
Result<std::optional<nlohmann::json>> read_record(int directory, const std::string& name);

// Replaces the record atomically: after OK the new one survives a crash, before it the old one does
// (written aside, fsynced, renamed, the directory fsynced).
Status write_record(int directory, const std::string& name, const nlohmann::json& record);

// Removes it durably; none there is OK.
Status remove_record(int directory, const std::string& name);

}  // namespace transship::mover
