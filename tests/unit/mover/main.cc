// Of a program that starts copiers, which are this program again.
#include <gtest/gtest.h>

#include <string_view>

#include "mover/copier_program.h"
#include "tests/unit/mover/sandbox_probe.h"

int main(int argc, char** argv) {
  if (transship::mover::is_copier(argc, argv)) return transship::mover::run_copier(argc, argv);
  if (argc > 1 && std::string_view(argv[1]) == transship::mover::kProbeCommand)
    return transship::mover::run_sandbox_probe(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
