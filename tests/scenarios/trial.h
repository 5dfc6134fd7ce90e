// Trial: one operator in one simulated world.
#pragma once

#include <memory>
#include <string>

#include "controller/names.h"
#include "tests/scenarios/world.h"

namespace transship::testing {

struct Trial {
  World world;
  controller::Settings settings;
  std::unique_ptr<controller::Reconciler> operator_;

  explicit Trial(const std::string& owner = "") {
    settings.mover_image = "transship";
    world.start_workload(owner);
    restart();
  }
  void restart() {
    operator_ = std::make_unique<controller::Reconciler>(
        world, world, world, settings,
        controller::Clocks{[this] { return world.now; },
                           [this] {
                             return std::chrono::steady_clock::time_point(
                                 world.now.time_since_epoch());
                           }});
  }
  bool ended(const std::string& name) {
    const Object migration = world.migration(name);
    return migration.is_null() || (world.condition(name, "Succeeded").rfind("Unknown", 0) != 0 &&
                                   !world.condition(name, "Succeeded").empty() &&
                                   !controller::has_finalizer(migration, controller::kFinalizer));
  }
  // Until the migration is over and cleaned up; false if it does not come to that.
  bool finish(const std::string& name, int most = 4000) {
    for (int i = 0; i < most && !ended(name); ++i) {
      step(name);
    }
    for (int i = 0; i < 10; ++i) world.tick();
    return ended(name);
  }
  void step(const std::string& name) {
    const auto again = operator_->reconcile("default", name);
    world.tick();
    if (!again.ok()) last_error = again.error().message;
  }
  bool step_until(const std::string& name, const std::string& condition, const std::string& prefix,
                  int most = 1000) {
    for (int i = 0; i < most; ++i) {
      if (world.condition(name, condition).rfind(prefix, 0) == 0) return true;
      step(name);
    }
    return false;
  }
  // As finish(), with the operator dying at the write of that number, and another going on after
  // `away` ticks; what that write was, or empty where it never came.
  std::string finish_dying_at(const std::string& name, int victim, World::Fate fate, int away = 0) {
    std::string what;
    bool died = false;
    world.on_write = [&, victim, fate](const std::string& write) {
      if (died || world.writes != victim) return World::Fate::kDone;
      died = true;
      what = write;
      return fate;
    };
    for (int i = 0; i < 4000 && !ended(name); ++i) {
      const bool before = died;
      step(name);
      if (died == before) continue;
      for (int ticks = 0; ticks < away; ++ticks) world.tick();
      restart();
    }
    for (int i = 0; i < 10; ++i) world.tick();
    world.on_write = [](const std::string&) { return World::Fate::kDone; };
    return what;
  }
  // What a failed expectation prints.
  std::string story(const std::string& name) {
    std::string out = last_error;
    for (const std::string& item : world.leftovers()) out += "\n  left: " + item;
    return out + "\n" + world.migration(name).dump(1);
  }
  std::string last_error;
};

inline Object to_b(Object spec = Object::object()) {
  spec["target"] = {{"nodeName", "node-b"}};
  return spec;
}

}  // namespace transship::testing
