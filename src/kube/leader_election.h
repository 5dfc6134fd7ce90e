// LeaderElection: of several processes with the same Lease, one leads. The protocol is client-go's:
// the holder renews the Lease; the others take it when they have not seen it change for its
// duration. Only the time since this process saw a change counts, never the clocks written in the
// Lease.
//
// A holder can still think that it leads for a moment after another took over (it was suspended, or
// its clock runs slow): writes that cannot be undone carry preconditions of their own.
// https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <random>
#include <stop_token>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/time.h"
#include "kube/client.h"

namespace transship::kube {

struct LeaderElectionOptions {
  using Instant = std::chrono::steady_clock::time_point;

  std::string ns;
  std::string name;      // of the Lease
  std::string identity;  // of this process; no two may have the same
  // duration > deadline > retry
  std::chrono::seconds lease_duration{15};       // how long others wait for a silent holder
  std::chrono::seconds renew_deadline{10};       // a holder that could not renew for this gives up
  std::chrono::milliseconds retry_period{2000};  // between two tries
  std::function<Instant()> now = std::chrono::steady_clock::now;
  std::function<WallTime()> wall_now = std::chrono::system_clock::now;
  // Waits for the time or the stop, whichever comes first. Null: really.
  std::function<void(const std::stop_token&, std::chrono::milliseconds)> wait;
};

class LeaderElection {
 public:
  enum class End {
    kStopped,  // as asked
    kLost,     // it led, and could not renew in time or saw another holder: the process should exit
  };
  // Called on run()'s thread.
  struct Callbacks {
    std::function<void()> on_started_leading;  // returns soon: no renewal happens meanwhile
    // Returns when this process has stopped acting as a leader: only then the Lease is released. A
    // call for each on_started_leading.
    std::function<void()> on_stopped_leading;
    std::function<void(const std::string& identity)> on_new_leader;  // may be null
  };

  // The client outlives the election. It should be one of its own, with ClientOptions::timeout and
  // read_attempts so small that a request ends well within the renew deadline.
  LeaderElection(Client& client, LeaderElectionOptions options);
  LeaderElection(const LeaderElection&) = delete;
  LeaderElection& operator=(const LeaderElection&) = delete;

  // Waits for the lease, leads while it can be renewed, and releases it when `stop` is requested.
  // Blocks; once at a time. Errors of the server are logged and tried again.
  End run(const std::stop_token& stop, const Callbacks& callbacks) EXCLUDES(mutex_);

  // True while this process leads and has renewed within the renew deadline, which is before anyone
  // else may take over. From any thread.
  [[nodiscard]] bool is_leader() const EXCLUDES(mutex_);

 private:
  using Instant = LeaderElectionOptions::Instant;

  bool acquire(const std::stop_token& stop);
  End renew(const std::stop_token& stop);
  void release();
  Status try_acquire_or_renew();
  Status create_lease(Instant asked);
  Status update_lease(Instant asked);
  [[nodiscard]] bool leading() const EXCLUDES(mutex_);
  [[nodiscard]] bool expired(Instant now) const;
  [[nodiscard]] Json held_spec() const;
  void observe(Json lease);
  void report_leader();
  void set_held(std::optional<Instant> renewed) EXCLUDES(mutex_);
  [[nodiscard]] std::string holder() const;

  Client& client_;
  const LeaderElectionOptions options_;

  // run()'s own.
  const Callbacks* callbacks_ = nullptr;
  Json observed_;        // the Lease as last seen; null: none
  Instant observed_at_;  // when its spec was seen to change
  std::string reported_leader_;
  std::string last_error_;  // as logged: a repeat is not logged again
  std::minstd_rand random_;

  mutable Mutex mutex_;
  std::optional<Instant> renewed_ GUARDED_BY(mutex_);  // when the last renewal was asked for
};

}  // namespace transship::kube
