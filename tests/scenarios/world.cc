// World as tests use it: what there is at first, what is asked of it, and its time.
#include "tests/scenarios/world.h"

#include "controller/names.h"
#include "controller/objects.h"
#include "controller/runtime_nodes.h"

namespace transship::testing {

using namespace controller;  // NOLINT: this is their counterpart

World::World() : now(std::chrono::seconds(1795489486)) {
  for (const char* node : {"node-a", "node-b"}) {
    objects_[Kind::kNode][{"", node}] = {
        {"metadata",
         {{"name", node}, {"uid", node}, {"labels", {{"kubernetes.io/arch", "amd64"}}}}},
        {"status", {{"conditions", {{{"type", "Ready"}, {"status", "True"}}}}}}};
  }
  for (const char* node : {"node-a", "node-b"}) {
    const std::string name = std::string("transship-runtime-") + node;
    objects_[Kind::kPod][{kOps, name}] = {
        {"metadata",
         {{"name", name},
          {"uid", name},
          {"namespace", kOps},
          {"labels", {{kComponent, "runtime"}}}}},
        {"spec",
         {{"nodeName", node}, {"containers", {{{"name", "install"}, {"args", {"install"}}}}}}},
        {"status",
         {{"phase", "Running"}, {"conditions", {{{"type", "Ready"}, {"status", "True"}}}}}}};
  }
  objects_[Kind::kStorageClass][{"", "local"}] = {{"metadata", {{"name", "local"}}},
                                                  {"volumeBindingMode", "WaitForFirstConsumer"}};
  objects_[Kind::kRuntimeClass][{"", kRuntimeClassName}] = {
      {"metadata", {{"name", kRuntimeClassName}}}, {"handler", kRuntimeClassName}};
  objects_[Kind::kMutatingPolicy][{"", kHoldPolicy}] = {{"metadata", {{"name", kHoldPolicy}}}};
}

void World::start_workload(const std::string& owner) {
  owner_ = owner;
  const Object selector = {{"matchLabels", {{"app", "db"}}}};
  if (owner == "StatefulSet") {
    objects_[Kind::kStatefulSet][{kNs, "db"}] = {{"metadata", {{"name", "db"}, {"uid", "owner"}}},
                                                 {"spec", {{"selector", selector}}}};
  } else if (owner == "ReplicaSet") {
    objects_[Kind::kDeployment][{kNs, "db"}] = {
        {"metadata", {{"name", "db"}, {"uid", "deployment"}}}, {"spec", {{"selector", selector}}}};
    objects_[Kind::kReplicaSet][{kNs, "db-1"}] = {
        {"metadata",
         {{"name", "db-1"},
          {"uid", "owner"},
          {"ownerReferences", {{{"kind", "Deployment"}, {"name", "db"}, {"controller", true}}}}}},
        {"spec", {{"selector", selector}}}};
  }
  (void)create(Kind::kClaim,
               {{"metadata", {{"name", "data"}, {"namespace", kNs}}},
                {"spec",
                 {{"accessModes", {"ReadWriteOnce"}},
                  {"storageClassName", "local"},
                  {"resources", {{"requests", {{"storage", "1Gi"}}}}}}}},
               false);
  provision(*find(Kind::kClaim, kNs, "data"), "node-a");
  if (owner.empty()) {
    (void)create(Kind::kPod,
                 {{"metadata", {{"name", "db"}, {"namespace", kNs}, {"labels", {{"app", "db"}}}}},
                  {"spec",
                   {{"nodeName", "node-a"},
                    {"containers", {{{"name", "db"}, {"image", "db"}}}},
                    {"volumes",
                     {{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", "data"}}}},
                      {{"name", "scratch"}, {"emptyDir", Object::object()}}}}}}},
                 false);
  }
  for (int i = 0; i < 5; ++i) tick();
}

void World::apply_migration(const std::string& name, Object spec) {
  spec["podRef"]["name"] = "";
  for (const Object& pod : all(Kind::kPod)) {
    if (text_at(pod, {"metadata", "namespace"}) == kNs && alive_.count(uid_of(pod)) != 0)
      spec["podRef"]["name"] = name_of(pod);
  }
  (void)create(Kind::kMigration,
               {{"metadata", {{"name", name}, {"namespace", kNs}, {"generation", 1}}},
                {"spec", std::move(spec)}},
               false);
}

Object World::migration(const std::string& name) {
  const Object* found = find(Kind::kMigration, kNs, name);
  return found == nullptr ? Object() : *found;
}

std::string World::condition(const std::string& name, const std::string& type) {
  const Object found = migration(name);
  for (const Object& item : list_at(found, {"status", "conditions"})) {
    if (item["type"] == type) return text_at(item, {"status"}) + "/" + text_at(item, {"reason"});
  }
  return "";
}

std::string World::workload_node() {
  for (const Object& pod : all(Kind::kPod)) {
    if (alive_.count(uid_of(pod)) != 0 && text_at(pod, {"metadata", "namespace"}) == kNs)
      return text_at(pod, {"spec", "nodeName"});
  }
  return "";
}

std::vector<std::string> World::leftovers() {
  std::vector<std::string> out;
  for (const auto& [kind, kept] : objects_) {
    for (const auto& [key, object] : kept) {
      const bool runtime = text_at(object, {"metadata", "labels", kComponent}) == "runtime";
      if (key.first == kOps && !runtime) out.push_back("object " + key.second);
    }
  }
  for (const auto& [place, content] : data_) {
    if (place.find("transship") != std::string::npos) out.push_back("data " + place);
  }
  for (const std::string& pod : pinned_) out.push_back("pins of " + pod);
  for (const auto& [place, data] : data_) {
    if (place.find(":/kept/") != std::string::npos) out.push_back("kept data at " + place);
  }
  for (const std::string& pod : frozen_) out.push_back("frozen " + pod);
  if (all(Kind::kVolume).size() > 1) out.push_back("more than one PersistentVolume");
  for (const Object& volume : all(Kind::kVolume)) {
    if (text_at(volume, {"spec", "persistentVolumeReclaimPolicy"}) != "Delete")
      out.push_back("reclaim policy of " + name_of(volume));
  }
  for (const Object& pod : all(Kind::kPod)) {
    if (has_finalizer(pod, kFence) || !annotation(pod, kLock).empty())
      out.push_back("marks on " + name_of(pod));
  }
  for (const Object& item : all(Kind::kMigration)) {
    if (has_finalizer(item, kFinalizer)) out.push_back("finalizer");
  }
  return out;
}

void World::tick() {
  now += std::chrono::milliseconds(50);
  // As stale as two ticks ago.
  for (const Kind kind : {Kind::kPod, Kind::kMigration}) {
    cached_[kind] = std::exchange(next_cached_[kind], objects_[kind]);
  }
  const auto hook = std::exchange(on_write, [](const std::string&) { return Fate::kDone; });
  const int before = writes;
  bind_claims();
  run_controllers();
  bind_claims();
  if (!sends_stall) end_sends();
  watch_frozen_pods();
  for (auto& [key, pod] : objects_[Kind::kPod]) schedule(pod);
  for (auto& [key, pod] : objects_[Kind::kPod]) run_kubelet(pod);
  for (const Kind kind : {Kind::kPod, Kind::kClaim}) {
    for (const Object& object : all(kind))
      finalize(kind, {text_at(object, {"metadata", "namespace"}), name_of(object)});
  }
  writes = before;
  on_write = hook;
}

void World::stop_node(const std::string& node) {
  down_.insert(node);
  (*find(Kind::kNode, "", node))["status"]["conditions"][0]["status"] = "Unknown";
  for (const Object& pod : all(Kind::kPod)) {
    if (text_at(pod, {"spec", "nodeName"}) != node) continue;
    end_pod(uid_of(pod));
    pinned_.erase(uid_of(pod));  // mounts do not outlive it
  }
  std::erase_if(movers_, [&](const auto& item) { return item.second.node == node; });
}

void World::start_node(const std::string& node) {
  down_.erase(node);
  (*find(Kind::kNode, "", node))["status"]["conditions"][0]["status"] = "True";
  for (auto& [key, pod] : objects_[Kind::kPod]) {
    if (text_at(pod, {"spec", "nodeName"}) == node && key.first == kOps)
      pod["status"]["phase"] = "Failed";
  }
}

}  // namespace transship::testing
