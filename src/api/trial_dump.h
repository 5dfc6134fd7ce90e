// TrialDump: a dump of the memory that was made to see whether and how fast that goes.
#pragma once

#include <cstdint>

namespace transship::api {

struct TrialDump {
  int64_t bytes = 0;          // of all containers' images
  double frozen_seconds = 0;  // until the pod went on
  double dump_seconds = 0;    // of that
  bool operator==(const TrialDump&) const = default;
};

}  // namespace transship::api
