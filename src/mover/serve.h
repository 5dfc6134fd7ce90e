// `transship-mover serve`: one role of one migration on one node, until it is told to end.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api/mover_protocol.h"
#include "base/result.h"
#include "mover/node.h"
#include "transfer/spill.h"

namespace transship::mover {

struct ServeConfig {
  NodeConfig node;
  api::MoverRole role = api::MoverRole::kSender;
  std::string migration_uid;
  int epoch = 0;
  std::string tls_directory;
  std::string archive_root;  // where the archive claim is mounted; empty: none
  std::string listen_address = "0.0.0.0";
  uint16_t control_port = api::kControlPort;
  uint16_t data_port = api::kDataPort;
  size_t inventory_memory = transfer::SpillOptions::kBound;  // bytes
  std::chrono::seconds linger{600};           // after a release: without a request for so long, end
  std::chrono::seconds orphan_timeout{3600};  // without a request for so long and idle: end
};

// Why the mover may end by itself.
enum class Ending { kStay, kReleased, kOrphaned };

// The policy of ending by itself: `idle` is how long no authenticated request came. A mover with
// pins in place or a task running stays, whatever the time.
Ending ending(const ServeConfig& config, std::chrono::seconds idle, bool released, bool busy,
              bool pins_in_place);

// Serves until SIGTERM or SIGINT (OK: tasks are stopped, pins stay as they are, and so does a
// frozen pod that is sealed; one that is not goes on) or until ending() says so. An error only
// where it could not start. Call from the only thread.
Status serve(const ServeConfig& config);

}  // namespace transship::mover
