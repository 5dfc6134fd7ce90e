// `create`: of a container with a claim it is a restore.
#pragma once

#include "runtime/call.h"

namespace transship::runtime {

// Its exit status. Fails closed: as long as the claim does not say Running or ColdStart of a
// container, either what was moved is restored, or nothing is created.
int create(const Call& call);

}  // namespace transship::runtime
