#include "controller/api_cluster.h"

#include "controller/names.h"

namespace transship::controller {
namespace {

const kube::Resource& resource_of(Kind kind) {
  switch (kind) {
    case Kind::kMigration:
      return kube::kContainerMigrations;
    case Kind::kPod:
      return kube::kPods;
    case Kind::kClaim:
      return kube::kPersistentVolumeClaims;
    case Kind::kVolume:
      return kube::kPersistentVolumes;
    case Kind::kJob:
      return kube::kJobs;
    case Kind::kSecret:
      return kube::kSecrets;
    case Kind::kNode:
      return kube::kNodes;
    case Kind::kStatefulSet:
      return kube::kStatefulSets;
    case Kind::kReplicaSet:
      return kube::kReplicaSets;
    case Kind::kDeployment:
      return kube::kDeployments;
    case Kind::kStorageClass:
      return kube::kStorageClasses;
    case Kind::kMutatingPolicy:
      return kube::kMutatingAdmissionPolicies;
    case Kind::kRuntimeClass:
      return kube::kRuntimeClasses;
    case Kind::kTransshipNode:
      return kube::kTransshipNodes;
  }
  return kube::kPods;
}

}  // namespace

Result<std::optional<Object>> ApiCluster::get(Kind kind, const std::string& namespace_name,
                                              const std::string& name) {
  auto object = client_.get(resource_of(kind), namespace_name, name);
  if (object.ok()) return std::optional<Object>(std::move(object).value());
  if (object.error().code == ErrorCode::kNotFound) return std::optional<Object>();
  return object.error();
}

Result<std::vector<Object>> ApiCluster::list(Kind kind, const std::string& namespace_name,
                                             const std::string& label_selector,
                                             Freshness freshness) {
  kube::ListOptions options;
  options.any_version = freshness == Freshness::kCached;
  options.label_selector = label_selector;
  auto found = client_.list(resource_of(kind), namespace_name, options);
  if (!found.ok()) return found.error();
  return std::move(found->items);
}

Result<Object> ApiCluster::create(Kind kind, const Object& object, bool dry_run) {
  kube::WriteOptions options;
  options.dry_run = dry_run;
  options.field_manager = kFieldManager;
  return client_.create(resource_of(kind), text_at(object, {"metadata", "namespace"}), object,
                        options);
}

Status ApiCluster::patch(Kind kind, const std::string& namespace_name, const std::string& name,
                         const Object& body) {
  kube::WriteOptions options;
  options.field_manager = kFieldManager;
  auto patched = client_.patch(resource_of(kind), namespace_name, name, kube::PatchType::kMerge,
                               body, options);
  return patched.ok() ? Status() : Status(patched.error());
}

Status ApiCluster::remove(Kind kind, const std::string& namespace_name, const std::string& name,
                          const DeleteOptions& options) {
  kube::DeleteOptions wanted;
  wanted.uid = options.uid;
  wanted.resource_version = options.resource_version;
  wanted.grace_period_seconds = options.grace_period_seconds;
  wanted.propagation_policy = "Background";
  auto removed = client_.remove(resource_of(kind), namespace_name, name, wanted);
  return removed.ok() ? Status() : Status(removed.error());
}

Result<Object> ApiCluster::apply_status(const Object& object) {
  kube::WriteOptions options;
  options.field_manager = kFieldManager;
  options.subresource = "status";
  options.force = true;
  return client_.patch(kube::kContainerMigrations, text_at(object, {"metadata", "namespace"}),
                       name_of(object), kube::PatchType::kApply, object, options);
}

}  // namespace transship::controller
