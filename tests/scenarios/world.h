// World: an API server, its controllers, two kubelets and two movers as one small simulation, for
// tests of the reconciler where real parts cannot be made to fail at will (tests/e2e has the real
// ones).
//
// A pod that runs writes a growing number to each of its volumes at every tick, and remembers it as
// acknowledged. What must never be, is recorded in `violations`: two pods of the workload alive at
// once, a pod that starts with anything but the last acknowledged numbers, data deleted that nobody
// has a copy of, a commit while the source runs, a frozen pod that its liveness probe has killed
// though nobody had sealed it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controller/cluster.h"
#include "controller/reconciler.h"

namespace transship::testing {

using controller::Kind;
using controller::Object;

class World : public controller::Cluster, public controller::Movers, public controller::Announcer {
 public:
  World();

  // A workload called "db" in namespace "default" on node-a, with a claim "data" and an emptyDir
  // "scratch"; `owner` is "", "StatefulSet" or "ReplicaSet" (of a Deployment).
  void start_workload(const std::string& owner);
  void apply_migration(const std::string& name, Object spec);
  void tick();  // everybody but the operator does what is to be done
  void crash_mover(api::MoverRole role);
  std::optional<int64_t> sending_limit();         // of the send that runs; absent: none does
  void fail_receive(const std::string& message);  // the one that runs
  void stop_node(const std::string& node);
  void start_node(const std::string& node);

  Object migration(const std::string& name);
  std::string condition(const std::string& name, const std::string& type);  // "True/Reason"
  Object* find(Kind kind, const std::string& ns, const std::string& name);
  std::vector<Object> all(Kind kind);
  std::string workload_node();  // where it is alive; "" if nowhere
  [[nodiscard]] bool is_frozen() const { return !frozen_.empty(); }
  std::vector<std::string> leftovers();  // what a migration must not leave behind

  std::vector<std::string> violations;
  WallTime now;
  // Before every write: what becomes of it. kLost: applied, but the reply is an error.
  enum class Fate { kDone, kRefused, kLost };
  std::function<Fate(const std::string& what)> on_write = [](const std::string&) {
    return Fate::kDone;
  };
  bool trial_is_cut_off = false;  // the sender dies in the middle of the next trial dump
  int trials = 0;                 // that were made
  int writes = 0;
  bool sends_stall = false;               // a send that has begun goes on until this is false again
  int64_t entries = 1;                    // that each volume has
  int64_t final_round_milliseconds = 50;  // that a precopy expects
  std::vector<int> passes;                // of the precopies that were done
  // What pods have besides volumes, of "layer.db", "memory.db" and "shm.pod": it has to go along.
  std::vector<std::string> trees;
  bool holds_runtime_class = true;            // the hold policy gives held pods their runtime class
  std::map<std::string, std::string> images;  // imageID by node, where it is not the usual one
  std::string restore_problem;  // while it is set, memory is not restored: this is why
  // Before a mover's task ends: a message makes it fail.
  std::function<std::string(api::MoverRole, api::TaskKind)> on_task = [](auto, auto) { return ""; };

  // controller::Cluster
  Result<std::optional<Object>> get(Kind kind, const std::string& ns,
                                    const std::string& name) override;
  Result<std::vector<Object>> list(Kind kind, const std::string& ns, const std::string& selector,
                                   controller::Freshness freshness) override;
  Result<Object> create(Kind kind, const Object& object, bool dry_run) override;
  Status patch(Kind kind, const std::string& ns, const std::string& name,
               const Object& body) override;
  Status remove(Kind kind, const std::string& ns, const std::string& name,
                const controller::DeleteOptions& options) override;
  Result<Object> apply_status(const Object& object) override;

  // controller::Movers
  Result<api::MoverState> state(const controller::MoverAddress& address) override;
  Result<api::TaskState> run(const controller::MoverAddress& address, api::TaskKind kind,
                             const api::TaskRequest& request) override;
  void forget(const std::string&) override {}

  // controller::Announcer
  void changed(const api::Migration&, const api::MigrationStatus&, WallTime) override {}
  void gone(const std::string&, const std::string&) override {}

 private:
  static constexpr const char* kNs = "default";
  static constexpr const char* kOps = "transship-system";

  struct Task {
    api::TaskRequest request;
    api::TaskState state;
  };
  struct Mover {
    std::string node;
    std::string seen_pod;
    std::map<api::TaskKind, Task> tasks;
    // Of a sender: whom it froze, until when it keeps that by itself, and whether for good.
    std::string froze;
    std::optional<WallTime> thaws;
    bool sealed = false;
    bool let_go = false;
  };
  using Key = std::pair<std::string, std::string>;

  Status write(const std::string& what, const std::function<Status()>& apply);
  Object admit(Object pod);  // the hold policy
  void finalize(Kind kind, const Key& key);
  void touch(Object& object);
  void run_controllers();
  void bind_claims();
  void schedule(Object& pod);
  void provision(Object& claim, const std::string& node);
  [[nodiscard]] std::vector<std::string> trees_of(const Object& pod) const;
  std::string restore_state(const Object& pod) const;
  void run_kubelet(Object& pod);
  [[nodiscard]] std::string image_id(const std::string& node) const;
  void start_pod(Object& pod);
  void end_pod(const std::string& uid);
  void run_owner();
  std::map<std::string, std::string> volume_keys(const Object& pod);  // volume -> place of its data
  void end_sends();
  std::string try_dump(Mover& mover, const api::TaskRequest& request, api::TaskState& state);
  std::string freeze(Mover& mover, const api::TaskRequest& request);
  std::string seal(Mover& mover, const api::TaskRequest& request);
  void thaw(Mover& mover, const std::string& pod_uid);
  void watch_frozen_pods();
  void check_commit(const Object& status);
  std::string do_task(Mover& mover, api::MoverRole role, api::TaskKind kind,
                      const api::TaskRequest& request, api::TaskState& state);
  std::string place_of(const Mover& mover, const api::MoverVolume& volume,
                       const api::TaskRequest& request, bool staged);
  static std::string kept_place(const Mover& mover, const api::MoverVolume& volume,
                                const api::TaskRequest& request);

  std::map<Kind, std::map<Key, Object>> objects_, cached_, next_cached_;
  std::map<std::string, std::string> data_;  // node:path -> content
  std::map<std::string, int> acknowledged_;  // volume -> number
  std::set<std::string> alive_, frozen_, pinned_, open_gates_, down_;
  std::set<std::string> dumped_, awaits_volumes_, cold_;  // pods by UID
  std::map<std::string, WallTime> frozen_since_;          // those that a liveness probe looks at
  std::string claimed_;
  std::map<std::string, Mover> movers_;  // by mover name
  int version_ = 1;
  int counter_ = 0;
  std::string owner_;
};

}  // namespace transship::testing
