// The program that a copier runs: what CopierProcess starts, with the other end of its channel.
#pragma once

#include <string>
#include <vector>

#include "mover/copier_process.h"
#include "transfer/spill.h"

namespace transship::mover {

inline constexpr int kCopierChannel = 3;  // the descriptor of its end

inline constexpr int kCopierSpill = 4;  // of the file that its inventories may go to

// The command line of a copier, and whether one is that.
std::vector<std::string> copier_arguments(const CopierConfig& config,
                                          const transfer::SpillFile& spill);
bool is_copier(int argc, char** argv);

// Goes into the sandbox, then does what it is told until its mover is gone. First thing in main, of
// every program that starts copiers. The exit status.
int run_copier(int argc, char** argv);

}  // namespace transship::mover
