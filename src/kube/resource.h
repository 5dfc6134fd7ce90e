// Resource: how the API names a kind of objects. Constants for those that the operator uses.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
#pragma once

#include <string>
#include <string_view>

namespace transship::kube {

struct Resource {
  std::string_view group;  // "" is the core group
  std::string_view version;
  std::string_view plural;
  std::string_view kind;
  bool namespaced = true;

  // "v1", "apps/v1"
  [[nodiscard]] std::string api_version() const;
  // "/api/v1", "/apis/apps/v1"
  [[nodiscard]] std::string group_path() const;
  // "/api/v1/namespaces/NS/pods/NAME", percent-encoded. An empty namespace is left out (all
  // namespaces, or a resource of the cluster), an empty name means the collection.
  [[nodiscard]] std::string path(std::string_view ns, std::string_view name = {}) const;

  friend bool operator==(const Resource&, const Resource&) = default;
};

inline constexpr Resource kPods{"", "v1", "pods", "Pod"};
inline constexpr Resource kNodes{"", "v1", "nodes", "Node", false};
inline constexpr Resource kNamespaces{"", "v1", "namespaces", "Namespace", false};
inline constexpr Resource kPersistentVolumes{"", "v1", "persistentvolumes", "PersistentVolume",
                                             false};
inline constexpr Resource kPersistentVolumeClaims{"", "v1", "persistentvolumeclaims",
                                                  "PersistentVolumeClaim"};
inline constexpr Resource kConfigMaps{"", "v1", "configmaps", "ConfigMap"};
inline constexpr Resource kSecrets{"", "v1", "secrets", "Secret"};
inline constexpr Resource kServiceAccounts{"", "v1", "serviceaccounts", "ServiceAccount"};
inline constexpr Resource kEvents{"events.k8s.io", "v1", "events", "Event"};
inline constexpr Resource kJobs{"batch", "v1", "jobs", "Job"};
inline constexpr Resource kLeases{"coordination.k8s.io", "v1", "leases", "Lease"};
inline constexpr Resource kStatefulSets{"apps", "v1", "statefulsets", "StatefulSet"};
inline constexpr Resource kReplicaSets{"apps", "v1", "replicasets", "ReplicaSet"};
inline constexpr Resource kDeployments{"apps", "v1", "deployments", "Deployment"};
inline constexpr Resource kStorageClasses{"storage.k8s.io", "v1", "storageclasses", "StorageClass",
                                          false};
inline constexpr Resource kRuntimeClasses{"node.k8s.io", "v1", "runtimeclasses", "RuntimeClass",
                                          false};
inline constexpr Resource kTransshipNodes{"transship.dev", "v1alpha1", "transshipnodes",
                                          "TransshipNode", false};
inline constexpr Resource kContainerMigrations{"transship.dev", "v1alpha1", "containermigrations",
                                               "ContainerMigration"};
inline constexpr Resource kMutatingAdmissionPolicies{"admissionregistration.k8s.io", "v1",
                                                     "mutatingadmissionpolicies",
                                                     "MutatingAdmissionPolicy", false};
inline constexpr Resource kMutatingAdmissionPolicyBindings{"admissionregistration.k8s.io", "v1",
                                                           "mutatingadmissionpolicybindings",
                                                           "MutatingAdmissionPolicyBinding", false};
inline constexpr Resource kValidatingAdmissionPolicies{"admissionregistration.k8s.io", "v1",
                                                       "validatingadmissionpolicies",
                                                       "ValidatingAdmissionPolicy", false};
inline constexpr Resource kValidatingAdmissionPolicyBindings{
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding", false};
inline constexpr Resource kCustomResourceDefinitions{
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false};
inline constexpr Resource kSelfSubjectAccessReviews{
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false};

// `text` with every byte that is not unreserved in a URI (RFC 3986) percent-encoded.
std::string percent_encode(std::string_view text);

}  // namespace transship::kube
