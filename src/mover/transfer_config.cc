#include "mover/transfer_config.h"

namespace transship::mover {

transfer::Until until_of(const Deadline& deadline) { return {deadline.stop(), deadline.end()}; }

}  // namespace transship::mover
