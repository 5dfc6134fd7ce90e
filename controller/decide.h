// decide: the whole policy of a migration as one pure function. No I/O and no clock: the same
// observation at the same time gives the same decision, and tests/unit/controller holds it as a
// table.
//
// The order of things is the order of the conditions (api/migration.h). Before Committed every
// failure leads to a rollback; after it there is only forward. See ARCHITECTURE.md, "A migration,
// step by step".
#pragma once

#include <chrono>
#include <optional>

#include "base/time.h"
#include "controller/action.h"
#include "controller/observed.h"
#include "controller/settings.h"

namespace transship::controller {

struct Decision {
  api::MigrationStatus status;  // as it is to be; written before the action is done
  Action action;
  std::optional<std::chrono::milliseconds>
      again;  // when to look again; absent: when something changes
};

Decision decide(const Observed& observed, const Settings& settings, WallTime now);

// What an action's failure means: for a failure that trying again cannot mend, the status that says
// so (before the commit: with a rollback begun). nullopt: try again with back-off.
std::optional<api::MigrationStatus> decide_failure(const Observed& observed,
                                                   const Decision& decision, const Error& error,
                                                   WallTime now);

}  // namespace transship::controller
