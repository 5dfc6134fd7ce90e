#include "controller/names.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace transship::controller {

using nlohmann::json;

namespace {

std::string prefix(const api::Migration& migration) { return "transship-" + migration.uid; }

}  // namespace

std::string tls_secret_name(const api::Migration& migration, int epoch) {
  return prefix(migration) + "-tls-" + std::to_string(epoch);
}

std::string pod_secret_name(const api::Migration& migration) {
  return prefix(migration) + "-pod-" + std::to_string(migration.status.attempts);
}

std::string mover_job_name(const api::Migration& migration, api::MoverRole role, int epoch) {
  return prefix(migration) + "-" + std::string(to_string(role)) + "-" + std::to_string(epoch);
}

std::string reservation_name(const api::Migration& migration) {
  return prefix(migration) + "-reserve-" + std::to_string(migration.status.attempts);
}

std::string staging_claim_name(const api::Migration& migration, const std::string& volume) {
  // Volume names are up to 63 characters long: their place in the list keeps the name short.
  const auto& volumes = migration.status.volumes;
  const auto found =
      std::find_if(volumes.begin(), volumes.end(),
                   [&](const api::VolumeStatus& item) { return item.name == volume; });
  return prefix(migration) + "-" + std::to_string(migration.status.attempts) + "-" +
         std::to_string(found - volumes.begin());
}

json child_metadata(const api::Migration& migration, const std::string& namespace_name,
                    const std::string& name, const std::string& role) {
  return {{"name", name},
          {"namespace", namespace_name},
          {"labels",
           {{"app.kubernetes.io/name", "transship"},
            {"app.kubernetes.io/component", role},
            {"app.kubernetes.io/managed-by", "transship-controller"},
            {kRole, role},
            {kMigrationUid, migration.uid}}},
          {"annotations",
           {{kMigrationNamespace, migration.namespace_name}, {kMigrationName, migration.name}}}};
}

bool is_child(const json& object, const api::Migration& migration) {
  const json labels = object.value("metadata", json::object()).value("labels", json::object());
  return labels.value(kMigrationUid, "") == migration.uid;
}

}  // namespace transship::controller
