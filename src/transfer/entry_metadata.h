// Setting an entry's owner, mode, extended attributes and modification time, in the order in which
// none undoes another: a change of owner clears setuid and security.capability, chmod(2) changes an
// ACL's mask, and everything but the times themselves is free to change the times.
#pragma once

#include <string>

#include "base/result.h"
#include "transfer/entry.h"

namespace transship::transfer {

// Of an open file or directory.
Status set_metadata(int fd, const Entry& entry);

// Of anything else, by its name in an open directory.
Status set_metadata(int directory, const std::string& name, const Entry& entry);

}  // namespace transship::transfer
