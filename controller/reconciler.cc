#include "controller/reconciler.h"

#include <utility>

#include "base/log.h"
#include "controller/names.h"
#include "controller/status.h"
#include "pki/certificates.h"

namespace transship::controller {
namespace {

constexpr auto kProgressInterval = std::chrono::seconds(2);
constexpr auto kCertificatesValid = std::chrono::hours(24 * 30);  // longer than any migration

api::MigrationStatus without_progress(api::MigrationStatus status) {
  status.progress = {};
  for (api::VolumeStatus& volume : status.volumes) volume.transferred_bytes = 0;
  return status;
}

std::string kind_name(Kind kind) {
  switch (kind) {
    case Kind::kMigration:
      return "ContainerMigration";
    case Kind::kPod:
      return "Pod";
    case Kind::kClaim:
      return "PersistentVolumeClaim";
    case Kind::kVolume:
      return "PersistentVolume";
    case Kind::kJob:
      return "Job";
    case Kind::kSecret:
      return "Secret";
    default:
      return "object";
  }
}

}  // namespace

Reconciler::Reconciler(Cluster& cluster, Movers& movers, Announcer& announcer,
                       const Settings& settings, Clocks clocks)
    : cluster_(cluster),
      movers_(movers),
      announcer_(announcer),
      settings_(settings),
      clocks_(std::move(clocks)),
      observer_(cluster, movers, settings) {}

Status Reconciler::create(const Observed& observed, const Create& action) {
  if (action.tls_secret) TRANSSHIP_TRY(create_tls_secret(observed));
  for (const Create::Item& item : action.items) {
    auto made = cluster_.create(item.kind, item.object, false);
    if (made.ok()) continue;
    if (made.error().code != ErrorCode::kAlreadyExists) return made.error();
    const std::string ns = text_at(item.object, {"metadata", "namespace"});
    if (item.accept_existing) continue;  // the next observation judges what is there
    auto there = cluster_.get(item.kind, ns, name_of(item.object));
    if (!there.ok()) return there.error();
    if (*there && is_child(**there, observed.migration)) continue;
    return Error{ErrorCode::kAlreadyExists,
                 kind_name(item.kind) + " " + ns + "/" + name_of(item.object) +
                     " exists and is not this migration's; it was left untouched: delete or "
                     "rename it and create the migration anew"};
  }
  return {};
}

Status Reconciler::create_tls_secret(const Observed& observed) {
  const api::Migration& migration = observed.migration;
  auto made = pki::make_certificates(migration.uid, migration.status.epoch, kCertificatesValid);
  if (!made.ok()) return made.error();
  Object secret = {
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"metadata", child_metadata(migration, settings_.operator_namespace,
                                  tls_secret_name(migration, migration.status.epoch), "tls")},
      {"type", "Opaque"},
      {"immutable", true},
      {"stringData",
       {{"ca.crt", made->ca},
        {"sender.crt", made->sender.certificate},
        {"sender.key", made->sender.key},
        {"receiver.crt", made->receiver.certificate},
        {"receiver.key", made->receiver.key},
        {"controller.crt", made->controller.certificate},
        {"controller.key", made->controller.key}}}};
  return create(observed, Create{.items = {{Kind::kSecret, std::move(secret)}}});
}

Status Reconciler::remove(const Delete& action) {
  for (const Delete::Item& item : action.items) {
    DeleteOptions options;
    options.uid = item.uid;
    options.resource_version = item.resource_version;
    options.grace_period_seconds = item.grace_period_seconds;
    TRANSSHIP_TRY(cluster_.remove(item.kind, item.namespace_name, item.name, options));
  }
  return {};
}

Result<bool> Reconciler::run_task(const Observed& observed, const RunTask& action) {
  auto address =
      observer_.address_of(observed.migration, action.role, observed.mover(action.role).address);
  if (!address.ok()) return address.error();
  auto state = movers_.run(*address, action.kind, action.request);
  if (!state.ok())
    return state.error().during(std::string(to_string(action.role)) + ": " +
                                std::string(to_string(action.kind)));
  return state->phase == api::TaskPhase::kSucceeded;
}

Result<bool> Reconciler::execute(const Observed& observed, const Action& action) {
  if (const auto* task = std::get_if<RunTask>(&action)) return run_task(observed, *task);
  const Status done = change(observed, action);
  return done.ok() ? Result<bool>(false) : done.error();
}

Status Reconciler::change(const Observed& observed, const Action& action) {
  if (const auto* made = std::get_if<Create>(&action)) return create(observed, *made);
  if (const auto* patch = std::get_if<Patch>(&action)) {
    return cluster_.patch(patch->kind, patch->namespace_name, patch->name, patch->body);
  }
  if (const auto* removed = std::get_if<Delete>(&action)) return remove(*removed);
  return {};
}

Result<bool> Reconciler::write_status(const api::Migration& migration,
                                      const api::MigrationStatus& status) {
  if (status == migration.status) return true;
  const auto now = clocks_.steady();
  if (without_progress(status) == without_progress(migration.status)) {
    MutexLock lock(mutex_);
    auto [last, first] = progress_written_.try_emplace(migration.uid, now);
    if (!first && now - last->second < kProgressInterval) return false;
    last->second = now;
  }
  auto written = cluster_.apply_status({{"apiVersion", "transship.dev/v1alpha1"},
                                        {"kind", "ContainerMigration"},
                                        {"metadata",
                                         {{"name", migration.name},
                                          {"namespace", migration.namespace_name},
                                          {"resourceVersion", migration.resource_version}}},
                                        {"status", api::status_to_json(status)}});
  if (!written.ok()) return written.error();
  announcer_.changed(migration, status, clocks_.wall());
  return true;
}

Result<std::optional<std::chrono::milliseconds>> Reconciler::reconcile(
    const std::string& namespace_name, const std::string& name) {
  using Again = std::optional<std::chrono::milliseconds>;
  auto gathered = observer_.observe(namespace_name, name, clocks_.steady());
  if (!gathered.ok()) return gathered.error();
  if (!*gathered) {
    announcer_.gone(namespace_name, name);
    return Again();
  }
  Observed& observed = **gathered;
  const Decision decision = decide(observed, settings_, clocks_.wall());
  const auto written = write_status(observed.migration, decision.status);
  if (!written.ok()) return written.error();
  if (std::holds_alternative<std::monostate>(decision.action)) {
    if (!decision.again) {
      movers_.forget(observed.migration.uid);
      observer_.forget(observed.migration.uid);
    }
    return decision.again;
  }
  const bool changed = decision.status != observed.migration.status;
  observed.migration.status = decision.status;
  const auto done = execute(observed, decision.action);
  // What is over already is not waited for.
  if (done.ok()) return *done ? Again(std::chrono::milliseconds(0)) : decision.again;
  const auto failed = decide_failure(observed, decision, done.error(), clocks_.wall());
  if (!failed || *failed == decision.status) return done.error();
  log::warning("a step failed for good",
               {{"migration", namespace_name + "/" + name}, {"error", done.error().message}});
  if (changed) {  // its resource version is a new one by now
    auto fresh = cluster_.get(Kind::kMigration, namespace_name, name);
    if (!fresh.ok()) return fresh.error();
    if (!*fresh) return Again();
    auto migration = api::parse_migration(**fresh);
    if (!migration.ok()) return migration.error();
    observed.migration = std::move(migration).value();
  }
  const auto recorded = write_status(observed.migration, *failed);
  if (!recorded.ok()) return recorded.error();
  // Past the commit, and in a rollback, there is no other way: the same again, with back-off.
  const bool same_again = is_committed(*failed) || decision.status.rollback;
  return same_again ? Result<Again>(done.error())
                    : Result<Again>(Again(std::chrono::milliseconds(0)));
}

}  // namespace transship::controller
