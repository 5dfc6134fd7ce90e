// Locks: the inode flags (chattr +i, +a) of a directory and of the entries in it, which forbid that
// these are renamed, or get another project id. They are noted, durably, before they are taken off,
// and set again afterwards, so that a crash in between loses none.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace transship::mover {

struct Lock {
  std::string name;   // in the directory, or a path below it; empty: the directory itself
  uint32_t mode = 0;  // its type
  uint8_t flags = 0;  // all carried ones (transfer/inode_attributes.h)
};
using Locks = std::vector<Lock>;

// Of the directory itself; of what is in it, too; of everything beneath it.
enum class LockScope { kItself, kChildren, kAll };
Result<Locks> find_locks(int directory, LockScope scope);

// Take them off, or set them again, where they are. What is not in the directory (any more, or yet)
// is passed over.
Status take_off(const Locks& locks, int directory);
Status put_on(const Locks& locks, int directory);

// For a record. Names may be any bytes. Throws what nlohmann::json throws.
nlohmann::json to_value(const Locks& locks);
Locks locks_of(const nlohmann::json& value);

}  // namespace transship::mover
