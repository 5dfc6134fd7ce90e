// Setting an entry's metadata on disk.
#pragma once

#include "base/result.h"
#include "transfer/entry.h"

namespace transship::transfer {

// Owner, extended attributes, mode and time of an open regular file or directory. `replace`: carried
// attributes that the entry has not are taken away.
Status write_metadata(int fd, const Entry& entry, bool replace);

// The same of `name` in `directory`, of any other type; a symbolic link's own.
Status write_metadata_at(int directory, const std::string& name, const Entry& entry);

}  // namespace transship::transfer
