// Whether a node can do what a migration will ask of it, by doing it: a process that listens at a
// TCP port is run by the node's runc, dumped by its CRIU, and restored.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/install/checkpoint_programs.h"

namespace transship::runtime {

struct SelfTest {
  CheckpointPrograms programs;
  std::string path;  // PATH for them
  int self = -1;     // a descriptor of this program, which is what runs in the container
  // On a file system that programs can be run from; emptied before and after. With runc's state.
  std::string directory = "/var/lib/transship/self-test";
};

// The container has namespaces and a control group of its own, no capabilities, and this program
// alone in its root. It holds a random number in its memory and tells it over TCP: the restored
// process has to tell the same. Each command has its deadline; whatever happens, and also after an
// end in the middle, nothing is left once it has been called again. Errors have CRIU's telling
// lines. The calling process must have one thread, the node's mounts, and see the node's processes.
Status self_test(const SelfTest& test);

// What runs in the container: says its number on standard output, closes all it was given, and
// tells the number to whoever connects. Returns only where it cannot.
int self_test_container();

}  // namespace transship::runtime
