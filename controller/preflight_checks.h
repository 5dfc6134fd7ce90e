// Checks: collects the findings of preflight, for status.preflight. Shared by its files.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "api/migration_status.h"
#include "controller/preflight.h"

namespace transship::controller {

class Checks {
 public:
  explicit Checks(std::vector<api::PreflightCheck>& out) : out_(out) {}
  void pass(std::string check, std::string message) {
    add(std::move(check), "Passed", std::move(message));
  }
  void warn(std::string check, std::string message) {
    add(std::move(check), "Warning", std::move(message));
  }
  void fail(std::string check, std::string message) {
    add(std::move(check), "Failed", std::move(message));
  }

 private:
  void add(std::string check, std::string result, std::string message) {
    out_.push_back({std::move(check), std::move(result), std::move(message)});
  }
  std::vector<api::PreflightCheck>& out_;
};

inline bool is_listed(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// What the plans of the pod's volumes need (preflight_volumes.cc): names that are known, and each
// volume as its plan says. Completes the plans.
void check_names(const Observed& observed, const PreflightReport& report, Checks& checks);
void check_volumes(const Observed& observed, PreflightReport& report, Checks& checks);

// What restoring layers and memory needs of the pod (preflight_containers.cc).
void check_containers(const Observed& observed, Checks& checks);

}  // namespace transship::controller
