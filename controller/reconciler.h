// The reconciler: observe -> decide -> status -> execute, for one migration at a time.
//
// The decision's status is written before its action is done, with the resource version that was
// observed: whoever decided on something old is refused, and an action is never ahead of the record
// of it. Everything is idempotent, so a controller that dies between any two calls goes on to the
// same end.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "base/time.h"
#include "controller/cluster.h"
#include "controller/decide.h"
#include "controller/observe.h"
#include "controller/settings.h"

namespace transship::controller {

// What people are told of a migration's way besides its status. Called after the status is written.
class Announcer {
 public:
  virtual ~Announcer() = default;
  virtual void changed(const api::Migration& before, const api::MigrationStatus& after,
                       WallTime now) = 0;
  virtual void gone(const std::string& namespace_name, const std::string& name) = 0;
};

struct Clocks {
  std::function<WallTime()> wall;
  std::function<std::chrono::steady_clock::time_point()> steady;
};

class Reconciler {
 public:
  Reconciler(Cluster& cluster, Movers& movers, Announcer& announcer, const Settings& settings,
             Clocks clocks);

  // One step of one migration. The value says when to look again; absent: when something changes.
  Result<std::optional<std::chrono::milliseconds>> reconcile(const std::string& namespace_name,
                                                             const std::string& name);

 private:
  // True where it was a task that has succeeded by now.
  Result<bool> execute(const Observed& observed, const Action& action);
  Status change(const Observed& observed, const Action& action);
  Status create(const Observed& observed, const Create& action);
  Status create_tls_secret(const Observed& observed);
  Status remove(const Delete& action);
  Result<bool> run_task(const Observed& observed, const RunTask& action);
  // Writes the status if it differs. False: only progress differs, and that was written just now.
  Result<bool> write_status(const api::Migration& migration, const api::MigrationStatus& status);

  Cluster& cluster_;
  Movers& movers_;
  Announcer& announcer_;
  const Settings& settings_;
  Clocks clocks_;
  Observer observer_;
  Mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> progress_written_
      GUARDED_BY(mutex_);  // by UID
};

}  // namespace transship::controller
