// The directory of a migration on a node, <kubelet root>/transship/<migration UID>: pins, covers,
// staged volumes and their records, all that a migration leaves there. Mode 0700, root's.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/deadline.h"
#include "mover/node.h"

namespace transship::mover {

// "transship/<migration UID>", relative to the kubelet root.
std::string migration_path(const std::string& migration_uid);

// Opens it, made where it is missing.
Result<UniqueFd> make_migration_directory(const Node& node, const std::string& migration_uid);

// Opens it; nullopt where there is none.
Result<std::optional<UniqueFd>> open_migration_directory(const Node& node,
                                                         const std::string& migration_uid);

// The record `name` in it (record.h); nullopt where there is no such record, or no directory.
Result<std::optional<nlohmann::json>> read_migration_record(const Node& node,
                                                            const std::string& migration_uid,
                                                            const std::string& name);

// The directory, made where it is missing and locked: of all movers that hold it so, on this node,
// one at a time goes on, and the others wait. Whose Job was deleted may still be ending.
Result<UniqueFd> lock_migration_directory(const Node& node, const std::string& migration_uid,
                                          const Deadline& deadline);

// kPreconditionFailed where anything is mounted below it, in the mover's or the node's mount table:
// nothing may be deleted then.
Status check_nothing_mounted(const Node& node, const std::string& migration_uid);

// Removes it where it is empty (another mover of the migration may still use it), and its parent.
Status remove_migration_directory(const Node& node, const std::string& migration_uid);

}  // namespace transship::mover
