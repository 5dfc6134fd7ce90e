// RestoredContainer: which claim a container of this boot belongs to, by the runtime's ID, so that
// `start`, `kill` and `delete`, which only have that, find it. Kept below /run.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/settings.h"

namespace transship::runtime {

struct RestoredContainer {
  std::string id;
  std::string pod_uid;
  std::string container;
  std::string network_namespace;  // held while it is restored; empty: none
  bool memory = false;            // frozen until all of the pod are started
  bool started = false;           // `start` was said
  bool operator==(const RestoredContainer&) const = default;
};

// nullopt where there is none of that ID: it was never ours.
Result<std::optional<RestoredContainer>> find_restored(const Settings& settings,
                                                       const std::string& id);
Status write_restored(const Settings& settings, const RestoredContainer& container);
Status remove_restored(const Settings& settings, const std::string& id);

}  // namespace transship::runtime
