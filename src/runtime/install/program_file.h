// A program as a file of the node.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

// Makes `path` a program (mode 0755) with the content that the descriptor `source` reads from its
// beginning: written aside, synced, renamed over what is there, so that whoever executes it meets
// the old one or the new one, whole. False where it has that content and mode already.
Result<bool> install_program(int source, const std::string& path);

}  // namespace transship::runtime
