// What each child object looks like: pure functions from a migration to the JSON that is created.
#pragma once

#include <map>
#include <string>

#include "api/migration.h"
#include "api/mover_protocol.h"
#include "controller/objects.h"
#include "controller/settings.h"

namespace transship::controller::render {

// The privileged, node-local Job of one mover; it has no API token. `node` is where it runs, also
// if that node is cordoned: draining a node is what migrations are for.
Object mover_job(const api::Migration& migration, const Settings& settings, api::MoverRole role,
                 const std::string& node);

// A pod that asks the scheduler for room exactly as the source pod does, less the source node, and
// mounts the staging claims, so that its node is the target and the volumes are provisioned there.
// `with_claims` is false for a dry run, which provisions nothing. Where containers are restored it
// goes where the runtime's installer is, but to none of `unready`, and has the pod's own images:
// what runs in them is a program of ours.
Object reservation_pod(const api::Migration& migration, const Settings& settings,
                       const Object& source_pod, bool with_claims,
                       const std::vector<std::string>& unready = {});

// The security context of our containers that need no rights (Pod Security's restricted profile).
Object restricted();

// The reservation pod's container that stands for lasting_containers()[index] of the source pod.
std::string reserving_container(size_t index);

// A claim in the operator's namespace like `claim`, unbound, of `storage_class` where that is
// given.
Object staging_claim(const api::Migration& migration, const Settings& settings,
                     const std::string& volume, const Object& claim);

// The claim that takes the place of `claim` under its name, bound to `volume_name`.
Object replacement_claim(const Object& claim, const std::string& volume_name,
                         const api::Migration& migration);

// The Secret that keeps what recreation needs when the originals are gone: "pod.json", less what
// the server fills in, and "claims.json", claims by the pod's names for them.
Object pod_secret(const api::Migration& migration, const Settings& settings, const Object& pod,
                  const std::map<std::string, Object>& claims);

// The bare pod made anew on `node`: same name and settings. With a gate where emptyDirs are placed;
// with the scheduling gate where `held`.
Object replacement_pod(const api::Migration& migration, const Settings& settings,
                       const Object& saved_pod, const std::string& node, bool gate, bool held);

// The merge patch that lets a held replacement go to `node`: affinity set, our scheduling gate
// removed.
Object release_to_node(const Object& pod, const std::string& node);

// The pod that an owner would make, for the dry-run create that shows whether the hold is in force.
Object hold_probe(const api::Migration& migration, const Object& source_pod);

}  // namespace transship::controller::render
