// `start`, `kill` and `delete` of containers that were restored.
#pragma once

#include "runtime/call.h"

namespace transship::runtime {

// Those with memory stay frozen until the last of their pod is started; then all go on together.
int start(const Call& call);

// SIGKILL of a frozen container is let through: it ends without one more instruction.
int kill(const Call& call);

int remove(const Call& call);

}  // namespace transship::runtime
