#include <nlohmann/json.hpp>

#include "controller/names.h"
#include "controller/render/render.h"

namespace transship::controller::render {
namespace {

Object arguments(const api::Migration& migration, const Settings& settings, api::MoverRole role,
                 const std::string& node) {
  Object out = {"serve",
                "--role=" + std::string(to_string(role)),
                "--migration-uid=" + migration.uid,
                "--epoch=" + std::to_string(migration.status.epoch),
                "--node-name=" + node,
                "--kubelet-root=" + settings.kubelet_root,
                "--tls-directory=/etc/transship/tls"};
  if (migration.spec.mode == api::TransferMode::kArchive) out.push_back("--archive-root=/archive");
  return out;
}

// Each role sees its own key only.
Object tls_volume(const api::Migration& migration, api::MoverRole role) {
  const std::string name(to_string(role));
  return {{"name", "tls"},
          {"secret",
           {{"secretName", tls_secret_name(migration, migration.status.epoch)},
            {"defaultMode", 0400},
            {"items",
             {{{"key", "ca.crt"}, {"path", "ca.crt"}},
              {{"key", name + ".crt"}, {"path", "tls.crt"}},
              {{"key", name + ".key"}, {"path", "tls.key"}}}}}}};
}

Object mover_container(const api::Migration& migration, const Settings& settings,
                       api::MoverRole role, const std::string& node) {
  Object mounts = {
      {{"name", "tls"}, {"mountPath", "/etc/transship/tls"}, {"readOnly", true}},
      // Pins are mounts: only Bidirectional lets them reach the kubelet and outlive the mover.
      {{"name", "kubelet"},
       {"mountPath", settings.kubelet_root},
       {"mountPropagation", "Bidirectional"}},
      {{"name", "run"}, {"mountPath", "/run"}}};
  if (migration.spec.mode == api::TransferMode::kArchive) {
    mounts.push_back({{"name", "archive"}, {"mountPath", "/archive"}});
  }
  return {{"name", "mover"},
          {"image", settings.mover_image},
          {"imagePullPolicy", settings.mover_image_pull_policy},
          {"command", {"/usr/bin/transship-mover"}},
          {"args", arguments(migration, settings, role, node)},
          {"securityContext",
           {{"privileged", true}, {"runAsUser", 0}, {"readOnlyRootFilesystem", true}}},
          {"terminationMessagePolicy", "FallbackToLogsOnError"},
          {"resources", {{"requests", {{"cpu", "50m"}, {"memory", "32Mi"}}}}},
          {"volumeMounts", std::move(mounts)}};
}

Object mover_pod_spec(const api::Migration& migration, const Settings& settings,
                      api::MoverRole role, const std::string& node) {
  Object volumes = {
      tls_volume(migration, role),
      {{"name", "kubelet"}, {"hostPath", {{"path", settings.kubelet_root}, {"type", "Directory"}}}},
      {{"name", "run"}, {"emptyDir", {{"medium", "Memory"}, {"sizeLimit", "16Mi"}}}}};
  if (migration.spec.mode == api::TransferMode::kArchive) {
    volumes.push_back({{"name", "archive"},
                       {"persistentVolumeClaim", {{"claimName", migration.spec.archive_claim}}}});
  }
  return {{"restartPolicy", "Never"},
          {"nodeName", node},
          {"hostPID", true},
          {"serviceAccountName", settings.mover_service_account},
          {"automountServiceAccountToken", false},
          {"enableServiceLinks", false},
          {"terminationGracePeriodSeconds", 5},
          {"tolerations", {{{"operator", "Exists"}}}},
          {"containers", {mover_container(migration, settings, role, node)}},
          {"volumes", std::move(volumes)}};
}

}  // namespace

Object mover_job(const api::Migration& migration, const Settings& settings, api::MoverRole role,
                 const std::string& node) {
  const std::string role_name(to_string(role));
  Object metadata =
      child_metadata(migration, settings.operator_namespace,
                     mover_job_name(migration, role, migration.status.epoch), role_name);
  Object pod_metadata = {{"labels", metadata["labels"]}, {"annotations", metadata["annotations"]}};
  return {{"apiVersion", "batch/v1"},
          {"kind", "Job"},
          {"metadata", std::move(metadata)},
          {"spec",
           {{"backoffLimit", 0},
            {"podReplacementPolicy", "Failed"},
            {"template",
             {{"metadata", std::move(pod_metadata)},
              {"spec", mover_pod_spec(migration, settings, role, node)}}}}}};
}

}  // namespace transship::controller::render
