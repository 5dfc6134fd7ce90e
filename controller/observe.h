// Observe: gathers everything a decision needs from the API server and the movers, read live, so
// that no cache can be behind. What is read depends on how far the migration is.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "controller/cluster.h"
#include "controller/observed.h"
#include "controller/settings.h"

namespace transship::controller {

class Observer {
 public:
  Observer(Cluster& cluster, Movers& movers, const Settings& settings)
      : cluster_(cluster), movers_(movers), settings_(settings) {}

  // nullopt where the migration is gone. `now` is a steady clock's: how long a mover has been
  // silent.
  Result<std::optional<Observed>> observe(const std::string& namespace_name,
                                          const std::string& name,
                                          std::chrono::steady_clock::time_point now);

  void forget(const std::string& migration_uid);

  // The address of a mover with the TLS material of the current epoch; kNotFound before that is
  // there.
  Result<MoverAddress> address_of(const api::Migration& migration, api::MoverRole role,
                                  const std::string& host);

 private:
  Status read(std::optional<Object>& into, Kind kind, const std::string& namespace_name,
              const std::string& name);
  // A child that is not this migration's (a foreign object of the same name) counts as not there:
  // it is never used and never deleted, and creating ours fails on it with its name.
  Status read_child(std::optional<Object>& into, const api::Migration& migration, Kind kind,
                    const std::string& name);
  Status read_pods(Observed& observed);
  Status read_owner(Observed& observed);
  Status read_runtime(Observed& observed);
  Status read_nodes(Observed& observed);
  Status read_volumes(Observed& observed);
  Status read_volume(Observed& observed, const api::VolumeStatus& volume);
  Status read_mover_pods(Observed& observed);
  Status read_children(Observed& observed);
  Status read_secrets(Observed& observed);
  Result<std::optional<Object>> secret(const api::Migration& migration, const std::string& name);
  Status read_mover(Observed& observed, api::MoverRole role,
                    std::chrono::steady_clock::time_point now);
  Status read_rivals(Observed& observed);
  Status probe_hold(Observed& observed);

  Cluster& cluster_;
  Movers& movers_;
  const Settings& settings_;
  Mutex mutex_;
  // When each mover was last heard of, by its name (api::mover_name).
  std::map<std::string, std::chrono::steady_clock::time_point> heard_ GUARDED_BY(mutex_);
  std::map<std::string, Object> secrets_ GUARDED_BY(mutex_);  // by name
};

}  // namespace transship::controller
