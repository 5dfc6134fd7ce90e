// Preflight: whether a pod can be moved, said before anything is touched. Every problem at once,
// each with what to do about it; and the plan for every volume (docs/volumes.md has it as a table).
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "api/migration.h"
#include "controller/observed.h"
#include "controller/settings.h"

namespace transship::controller {

struct PreflightReport {
  std::vector<api::PreflightCheck> checks;
  std::vector<api::VolumeStatus> volumes;
  std::vector<api::ContainerStatus> containers;
  api::Owner owner;

  [[nodiscard]] bool passed() const;
  [[nodiscard]] std::string failures() const;  // the failed checks' messages, joined
};

// `observed.source_pod` must be there and running; everything else is judged here.
PreflightReport preflight(const Observed& observed, const Settings& settings);

// Why movers cannot work on the node, for people; empty: they can, or its kernel's version says
// nothing. For preflight, and for the target that only the scheduler chooses.
std::string kernel_problem(const Object& node);

// Whether what is in memory on `source` can go on on `target`, by the runtime's installer on both.
// For preflight, and again for the target that the scheduler has chosen.
api::PreflightCheck nodes_check(const std::vector<Object>& runtime_pods, const std::string& source,
                                const std::string& target);

// How long the pod may be frozen before a liveness probe has a container of it killed and started
// cold on its node (docs/stopping.md); absent: for ever.
std::optional<std::chrono::seconds> freeze_budget(const Object& pod);

// The plan for the pod's volumes alone: which PVs, claims and storage classes `observe` has to
// read.
std::vector<api::VolumeStatus> plan_volumes(const Object& pod, const api::MigrationSpec& spec);

// The same for what goes along of the containers: nothing unless spec.state says so.
std::vector<api::VolumeStatus> plan_trees(const Object& pod, const api::MigrationSpec& spec);
std::vector<api::ContainerStatus> plan_containers(const Object& pod,
                                                  const api::MigrationSpec& spec);

}  // namespace transship::controller
