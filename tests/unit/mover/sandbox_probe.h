// What a process in the sandbox of a copier tries, and what becomes of it.
#pragma once

namespace transship::mover {

inline constexpr const char* kProbeCommand = "sandbox-probe";

// As a program of its own, in the sandbox of `arguments[2]` ("read" or "write"), with the volume's
// view as descriptor 4: prints a line for each try, "name: what came of it". The exit status.
int run_sandbox_probe(int argc, char** arguments);

}  // namespace transship::mover
