#include "transfer/project_ids.h"

#include <fcntl.h>

#include <cerrno>

#include "transfer/beneath.h"
#include "transfer/entry.h"

namespace transship::transfer {

Result<uint32_t> root_project(int root) {
  auto directory = open_for_reading(root, ".", O_DIRECTORY, ".");
  if (!directory) return directory.error();
  InodeAttributes found;
  if (!read_attributes({directory->get(), "", /*directory=*/true}, found))
    return path_error("read the project id of", ".", errno);
  return found.project;
}

}  // namespace transship::transfer
