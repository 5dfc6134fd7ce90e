// Names, labels and annotations of everything that a migration makes or marks. Deterministic, so
// that a controller that starts anew finds its children, and creating one twice is creating it
// once.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/migration.h"
#include "api/mover_protocol.h"

namespace transship::controller {

inline constexpr const char* kFinalizer = "transship.dev/cleanup";  // on the ContainerMigration
inline constexpr const char* kFence = "transship.dev/fence";        // finalizer on the source pod
inline constexpr const char* kLock =
    "transship.dev/migration";  // annotation on the source pod: the UID
inline constexpr const char* kSchedulingGate = "transship.dev/restore";  // on the pod to restore
inline constexpr const char* kGate = "transship-gate";         // init container and volume
inline constexpr const char* kRuntimeClassName = "transship";  // whose handler is transship-runtime
inline constexpr const char* kMigrationUid = "transship.dev/migration-uid";  // label on children
inline constexpr const char* kMigrationNamespace =
    "transship.dev/migration-namespace";                                       // annotation
inline constexpr const char* kMigrationName = "transship.dev/migration-name";  // annotation
inline constexpr const char* kRole = "transship.dev/role";                     // label
inline constexpr const char* kHoldProbe =
    "transship.dev/hold-probe";                               // label on dry-run creates: the UID
inline constexpr const char* kHoldPolicy = "transship-hold";  // the MutatingAdmissionPolicy
inline constexpr const char* kMayMigratePolicy =
    "transship-may-migrate";  // the ValidatingAdmissionPolicy
inline constexpr const char* kLeaderLease = "transship-controller";  // whose holder leads
inline constexpr const char* kFieldManager = "transship-controller";

std::string tls_secret_name(const api::Migration& migration, int epoch);
std::string pod_secret_name(const api::Migration& migration);  // keeps the source pod's manifest
std::string mover_job_name(const api::Migration& migration, api::MoverRole role, int epoch);
std::string reservation_name(const api::Migration& migration);
std::string staging_claim_name(const api::Migration& migration, const std::string& volume);

// metadata of a child in the operator's namespace: name, labels, annotations.
nlohmann::json child_metadata(const api::Migration& migration, const std::string& namespace_name,
                              const std::string& name, const std::string& role);

// Whether `object` carries this migration's label: one of its children, not somebody else's.
bool is_child(const nlohmann::json& object, const api::Migration& migration);

}  // namespace transship::controller
