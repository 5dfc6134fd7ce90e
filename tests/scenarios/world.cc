#include "tests/scenarios/world.h"

#include <algorithm>

#include "controller/names.h"
#include "controller/objects.h"
#include "controller/runtime_nodes.h"
#include "controller/status.h"

namespace transship::testing {

using namespace controller;  // NOLINT: this is their counterpart

namespace {

constexpr const char* kNs = "default";
constexpr const char* kOps = "transship-system";

bool matches(const Object& object, const std::string& selector) {
  size_t from = 0;
  while (from < selector.size()) {
    const size_t end = std::min(selector.find(',', from), selector.size());
    const std::string pair = selector.substr(from, end - from);
    const size_t equals = pair.find('=');
    const std::string key = pair.substr(0, equals);
    if (text_at(object, {"metadata", "labels", key.c_str()}) != pair.substr(equals + 1))
      return false;
    from = end + 1;
  }
  return true;
}

std::string base64(const std::string& text) {
  static const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < text.size(); i += 3) {
    unsigned bits = 0;
    for (size_t j = 0; j < 3; ++j)
      bits = bits << 8U | (i + j < text.size() ? static_cast<unsigned char>(text[i + j]) : 0U);
    for (size_t j = 0; j < 4; ++j)
      out += i + j > text.size() ? '=' : kDigits[bits >> (18 - 6 * j) & 63U];
  }
  return out;
}

std::string pinned_node(const Object& pod, bool& excluded) {
  const Object& terms =
      list_at(pod, {"spec", "affinity", "nodeAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
  if (terms.empty()) return "";
  const Object& field = terms[0]["matchFields"][0];
  excluded = field["operator"] == "NotIn";
  return field["values"][0].get<std::string>();
}

}  // namespace

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

void World::touch(Object& object) {
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
}

Object* World::find(Kind kind, const std::string& ns, const std::string& name) {
  auto& kept = objects_[kind];
  const auto found = kept.find({ns, name});
  return found == kept.end() ? nullptr : &found->second;
}

std::vector<Object> World::all(Kind kind) {
  std::vector<Object> out;
  for (const auto& [key, object] : objects_[kind]) out.push_back(object);
  return out;
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

// --- the API server ---

Status World::write(const std::string& what, const std::function<Status()>& apply) {
  ++writes;
  const Fate fate = on_write(what);
  if (fate == Fate::kRefused) return Error{ErrorCode::kUnavailable, "refused: " + what};
  const Status done = apply();
  if (fate == Fate::kLost) return Error{ErrorCode::kTimeout, "reply lost: " + what};
  return done;
}

Result<std::optional<Object>> World::get(Kind kind, const std::string& ns,
                                         const std::string& name) {
  const Object* found = find(kind, ns, name);
  return found == nullptr ? std::optional<Object>() : std::optional<Object>(*found);
}

Result<std::vector<Object>> World::list(Kind kind, const std::string& ns,
                                        const std::string& selector,
                                        controller::Freshness freshness) {
  std::vector<Object> out;
  const bool cached = freshness == controller::Freshness::kCached;
  for (const auto& [key, object] : cached ? cached_[kind] : objects_[kind]) {
    if (key.first == ns && matches(object, selector)) out.push_back(object);
  }
  return out;
}

// The MutatingAdmissionPolicy transship-hold, as charts/ has it.
Object World::admit(Object pod) {
  for (const Object& item : all(Kind::kMigration)) {
    const Object& held = at(item, {"status", "hold"});
    if (!held.is_object()) continue;
    const Object& owner = controller_owner(pod);
    const bool probe = text_at(pod, {"metadata", "labels", kHoldProbe}) == uid_of(item);
    const bool by_name =
        !held.contains("podName") || text_at(held, {"podName"}) == name_of(pod) || probe;
    bool match = held.contains("ownerUID") &&
                 text_at(owner, {"uid"}) == text_at(held, {"ownerUID"}) && by_name;
    if (held.contains("labels"))
      match = text_at(owner, {"kind"}) == "ReplicaSet" &&
              text_at(pod, {"metadata", "labels", "app"}) == "db";
    if (!match) continue;
    pod["spec"]["schedulingGates"].push_back({{"name", kSchedulingGate}});
    if (held.contains("runtimeClassName") && holds_runtime_class)
      pod["spec"]["runtimeClassName"] = held["runtimeClassName"];
    if (held.contains("gateImage")) {
      Object init = Object::array({{{"name", kGate}}});
      pod["spec"]["initContainers"] = init;
      pod["spec"]["volumes"].push_back({{"name", kGate}, {"emptyDir", Object::object()}});
    }
  }
  return pod;
}

Result<Object> World::create(Kind kind, const Object& object, bool dry_run) {
  Object made = kind == Kind::kPod ? admit(object) : object;
  if (dry_run) return made;
  const Key key{text_at(made, {"metadata", "namespace"}), name_of(made)};
  const Status done = write("create " + key.second, [&]() -> Status {
    if (objects_[kind].count(key) != 0)
      return Error{ErrorCode::kAlreadyExists, key.second + " exists"};
    made["metadata"]["uid"] = "uid-" + std::to_string(++counter_);
    made["metadata"]["creationTimestamp"] = format_seconds(now);
    if (made.contains("stringData")) {
      for (const auto& [name, text] : made["stringData"].items())
        made["data"][name] = base64(text.get<std::string>());
    }
    if (kind == Kind::kClaim) made["status"]["phase"] = "Pending";
    touch(made);
    objects_[kind][key] = made;
    return {};
  });
  if (!done.ok()) return done.error();
  return made;
}

Status World::patch(Kind kind, const std::string& ns, const std::string& name, const Object& body) {
  return write("patch " + name, [&]() -> Status {
    Object* object = find(kind, ns, name);
    if (object == nullptr) return Error{ErrorCode::kNotFound, name};
    for (const char* field : {"uid", "resourceVersion"}) {
      const std::string wanted = text_at(body, {"metadata", field});
      if (!wanted.empty() && wanted != text_at(*object, {"metadata", field}))
        return Error{ErrorCode::kConflict, name + " changed"};
    }
    Object change = body;
    if (change.contains("metadata")) change["metadata"].erase("resourceVersion");
    object->merge_patch(change);
    touch(*object);
    finalize(kind, {ns, name});
    return {};
  });
}

Status World::remove(Kind kind, const std::string& ns, const std::string& name,
                     const DeleteOptions& options) {
  return write("delete " + name, [&]() -> Status {
    Object* object = find(kind, ns, name);
    if (object == nullptr) return {};
    if (!options.uid.empty() && options.uid != uid_of(*object))
      return Error{ErrorCode::kConflict, "uid"};
    if (!options.resource_version.empty() &&
        options.resource_version != text_at(*object, {"metadata", "resourceVersion"})) {
      return Error{ErrorCode::kConflict, "resourceVersion"};
    }
    if (!is_deleting(*object)) (*object)["metadata"]["deletionTimestamp"] = format_seconds(now);
    // A pod goes when its kubelet is done with it, or at once with a grace period of 0.
    if (kind == Kind::kPod && text_at(*object, {"spec", "nodeName"}).empty())
      (*object)["gone"] = true;
    if (kind == Kind::kPod && options.grace_period_seconds == 0) (*object)["gone"] = true;
    if (kind == Kind::kJob) {
      for (auto& [key, pod] : objects_[Kind::kPod]) {
        if (text_at(pod, {"metadata", "labels", "job-name"}) == name)
          pod["metadata"]["deletionTimestamp"] = format_seconds(now);
      }
    }
    touch(*object);
    finalize(kind, {ns, name});
    return {};
  });
}

// Takes an object away once it is being deleted and nothing holds it.
void World::finalize(Kind kind, const Key& key) {
  Object* object = find(kind, key.first, key.second);
  if (object == nullptr || !is_deleting(*object) ||
      !list_at(*object, {"metadata", "finalizers"}).empty())
    return;
  if (kind == Kind::kPod && !object->contains("gone")) return;
  if (kind == Kind::kClaim) {
    for (const Object& pod : all(Kind::kPod)) {  // pvc-protection: not for pods without a node
      if (text_at(pod, {"metadata", "namespace"}) != key.first ||
          text_at(pod, {"spec", "nodeName"}).empty())
        continue;
      for (const Object& volume : list_at(pod, {"spec", "volumes"})) {
        if (text_at(volume, {"persistentVolumeClaim", "claimName"}) == key.second) return;
      }
    }
  }
  objects_[kind].erase(key);
}

Result<Object> World::apply_status(const Object& object) {
  const std::string name = name_of(object);
  const Status done = write("status " + text_at(object, {"status", "phase"}), [&]() -> Status {
    Object* kept = find(Kind::kMigration, kNs, name);
    if (kept == nullptr) return Error{ErrorCode::kNotFound, name};
    if (text_at(*kept, {"metadata", "resourceVersion"}) !=
        text_at(object, {"metadata", "resourceVersion"})) {
      return Error{ErrorCode::kConflict, name + " changed"};
    }
    check_commit(object["status"]);
    (*kept)["status"] = object["status"];
    touch(*kept);
    return {};
  });
  if (!done.ok()) return done.error();
  return object;
}

// --- controllers, scheduler, kubelets ---

void World::provision(Object& claim, const std::string& node) {
  const std::string name = "pv-" + uid_of(claim);
  objects_[Kind::kVolume][{"", name}] = {
      {"metadata", {{"name", name}, {"uid", "uid-" + name}}},
      {"spec",
       {{"hostPath", {{"path", "/pv/" + name}}},
        {"persistentVolumeReclaimPolicy", "Delete"},
        {"node", node},
        {"claimRef",
         {{"namespace", text_at(claim, {"metadata", "namespace"})},
          {"name", name_of(claim)},
          {"uid", uid_of(claim)}}}}}};
  data_[node + ":/pv/" + name] = "";
  claim["spec"]["volumeName"] = name;
  claim["status"]["phase"] = "Bound";
  touch(claim);
}

void World::bind_claims() {
  std::vector<Key> removed;
  for (auto& [key, volume] : objects_[Kind::kVolume]) {
    Object& reference = volume["spec"]["claimRef"];
    Object* claim =
        find(Kind::kClaim, text_at(reference, {"namespace"}), text_at(reference, {"name"}));
    const std::string uid = text_at(reference, {"uid"});
    if (claim != nullptr && (uid.empty() || uid == uid_of(*claim)) &&
        (*claim)["status"]["phase"] == "Pending") {
      reference["uid"] = uid_of(*claim);
      (*claim)["spec"]["volumeName"] = name_of(volume);
      (*claim)["status"]["phase"] = "Bound";
      touch(*claim);
    } else if (!uid.empty() && (claim == nullptr || uid != uid_of(*claim)) &&
               volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete") {
      removed.push_back(key);
    }
  }
  for (const Key& key : removed) {
    const Object& volume = objects_[Kind::kVolume][key];
    const std::string place =
        text_at(volume, {"spec", "node"}) + ":" + text_at(volume, {"spec", "hostPath", "path"});
    const std::string last = std::to_string(acknowledged_["data"]);
    const auto copies = std::count_if(data_.begin(), data_.end(), [&](const auto& item) {
      return item.second == last && item.first.find(":/pv/") != std::string::npos;
    });
    if (data_[place] == last && copies < 2)
      violations.push_back("the only copy of the data was deleted: " + place);
    data_.erase(place);
    objects_[Kind::kVolume].erase(key);
  }
}

void World::schedule(Object& pod) {
  if (!text_at(pod, {"spec", "nodeName"}).empty() ||
      !list_at(pod, {"spec", "schedulingGates"}).empty() || is_deleting(pod))
    return;
  bool excluded = false;
  const std::string named = pinned_node(pod, excluded);
  for (const std::string node : {"node-a", "node-b"}) {
    if (!named.empty() && (node == named) == excluded) continue;
    if (down_.count(node) != 0) continue;
    bool fits = true;
    for (const Object& volume : list_at(pod, {"spec", "volumes"})) {
      const std::string claim_name = text_at(volume, {"persistentVolumeClaim", "claimName"});
      if (claim_name.empty()) continue;
      Object* claim = find(Kind::kClaim, text_at(pod, {"metadata", "namespace"}), claim_name);
      if (claim == nullptr) {
        fits = false;
      } else if ((*claim)["status"]["phase"] == "Pending") {
        provision(*claim, node);
      } else if (Object* bound = find(Kind::kVolume, "", text_at(*claim, {"spec", "volumeName"}))) {
        fits = fits && text_at(*bound, {"spec", "node"}) == node;
      }
    }
    if (!fits) continue;
    pod["spec"]["nodeName"] = node;
    touch(pod);
    return;
  }
}

std::map<std::string, std::string> World::volume_keys(const Object& pod) {
  std::map<std::string, std::string> out;
  const std::string node = text_at(pod, {"spec", "nodeName"});
  for (const Object& volume : list_at(pod, {"spec", "volumes"})) {
    const std::string name = text_at(volume, {"name"});
    if (name == kGate) continue;
    if (volume.contains("emptyDir")) out[name] = node + ":/pods/" + uid_of(pod) + "/" + name;
    const Object* claim =
        find(Kind::kClaim, kNs, text_at(volume, {"persistentVolumeClaim", "claimName"}));
    if (claim == nullptr) continue;
    const Object* bound = find(Kind::kVolume, "", text_at(*claim, {"spec", "volumeName"}));
    if (bound != nullptr) out[name] = node + ":" + text_at(*bound, {"spec", "hostPath", "path"});
  }
  for (const std::string& tree : trees_of(pod))
    out[tree] = node + ":/pods/" + uid_of(pod) + "/" + tree;
  return out;
}

// What the pod has besides volumes. One that is not restored, or is told to start cold, begins
// without memory, as pods do.
std::vector<std::string> World::trees_of(const Object& pod) const {
  if (cold_.count(uid_of(pod)) != 0 && alive_.count(uid_of(pod)) == 0) return {"layer.db"};
  return trees;
}

// As transship-runtime writes it down.
std::string World::restore_state(const Object& pod) const {
  if (alive_.count(uid_of(pod)) != 0) return "Running";
  if (cold_.count(uid_of(pod)) != 0) return "ColdStart";
  return restore_problem.empty() ? "Pending" : "Failed";
}

void World::start_pod(Object& pod) {
  // Also one whose object is gone.
  if (!alive_.empty()) violations.push_back("two pods of the workload at once");
  for (const auto& [volume, place] : volume_keys(pod)) {
    const std::string& found = data_[place];
    if (acknowledged_.count(volume) != 0 && found != std::to_string(acknowledged_[volume])) {
      violations.push_back("pod started with " + volume + " = \"" + found + "\" instead of " +
                           std::to_string(acknowledged_[volume]));
    }
  }
  alive_.insert(uid_of(pod));
  pod["status"] = {{"phase", "Running"},
                   {"conditions", {{{"type", "Ready"}, {"status", "True"}}}},
                   {"containerStatuses",
                    {{{"name", "db"},
                      {"containerID", "containerd://c"},
                      {"imageID", image_id(text_at(pod, {"spec", "nodeName"}))},
                      {"state", {{"running", Object::object()}}}}}}};
  touch(pod);
}

std::string World::image_id(const std::string& node) const {
  const auto found = images.find(node);
  return found == images.end() ? "db@sha256:1" : found->second;
}

void World::end_pod(const std::string& uid) {
  alive_.erase(uid);
  frozen_.erase(uid);
  frozen_since_.erase(uid);
}

void World::run_kubelet(Object& pod) {
  const std::string node = text_at(pod, {"spec", "nodeName"});
  const std::string uid = uid_of(pod);
  if (node.empty() || down_.count(node) != 0) return;
  if (text_at(pod, {"metadata", "namespace"}) == kOps) {
    if (is_deleting(pod)) {
      pod["gone"] = true;
    } else if (!pod.contains("status")) {
      pod["status"] = {{"phase", "Running"},
                       {"podIP", node + "/" + text_at(pod, {"metadata", "labels", "job-name"})}};
      for (const Object& container : list_at(pod, {"spec", "containers"})) {
        pod["status"]["containerStatuses"].push_back(
            {{"name", container["name"]}, {"imageID", image_id(node)}});
      }
    }
    return;
  }
  if (is_deleting(pod)) {
    if (frozen_.count(uid) != 0) return;
    end_pod(uid);
    pod["status"]["containerStatuses"] = {{{"name", "db"},
                                           {"containerID", "containerd://c"},
                                           {"state", {{"terminated", Object::object()}}}}};
    pod["status"]["conditions"] = Object::array();
    if (pinned_.count(uid) == 0) {
      for (const auto& [volume, place] : volume_keys(pod)) {
        if (place.find("/pods/") != std::string::npos) data_.erase(place);
      }
      pod["gone"] = true;
    }
    return;
  }
  if (alive_.count(uid) != 0) {
    if (frozen_.count(uid) != 0) return;
    ++counter_;
    for (const auto& [volume, place] : volume_keys(pod)) {
      data_[place] = std::to_string(counter_);
      acknowledged_[volume] = counter_;
    }
    return;
  }
  const bool gated =
      !list_at(pod, {"spec", "initContainers"}).empty() || awaits_volumes_.count(uid) != 0;
  if (claimed_ == uid && restore_state(pod) == "Failed") return;
  if (!gated || open_gates_.count(uid) != 0) start_pod(pod);
}

void World::run_owner() {
  if (owner_.empty()) return;
  int mine = 0;
  for (const Object& pod : all(Kind::kPod)) {
    if (text_at(pod, {"metadata", "labels", "app"}) != "db") continue;
    if (owner_ == "StatefulSet" || !is_deleting(pod)) ++mine;
  }
  if (mine > 0) return;
  const std::string name = owner_ == "StatefulSet" ? "db-0" : "db-1-" + std::to_string(++counter_);
  (void)create(Kind::kPod,
               {{"metadata",
                 {{"name", name},
                  {"namespace", kNs},
                  {"labels", {{"app", "db"}}},
                  {"ownerReferences",
                   {{{"kind", owner_},
                     {"name", owner_ == "StatefulSet" ? "db" : "db-1"},
                     {"uid", "owner"},
                     {"controller", true}}}}}},
                {"spec",
                 {{"containers", {{{"name", "db"}, {"image", "db"}}}},
                  {"volumes",
                   {{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", "data"}}}},
                    {{"name", "scratch"}, {"emptyDir", Object::object()}}}}}}},
               false);
  if (find(Kind::kClaim, kNs, "data") == nullptr) {
    (void)create(Kind::kClaim,
                 {{"metadata", {{"name", "data"}, {"namespace", kNs}}},
                  {"spec", {{"storageClassName", "local"}}}},
                 false);
  }
}

void World::run_controllers() {
  run_owner();
  for (const Object& job : all(Kind::kJob)) {
    Object labels = at(job, {"spec", "template", "metadata", "labels"});
    if (!labels.is_object()) continue;  // a foreign Job in a test
    labels["job-name"] = name_of(job);
    (void)create(
        Kind::kPod,
        {{"metadata",
          {{"name", name_of(job) + "-pod"},
           {"namespace", kOps},
           {"labels", labels},
           {"ownerReferences", {{{"kind", "Job"}, {"name", name_of(job)}, {"controller", true}}}}}},
         {"spec", job["spec"]["template"]["spec"]}},
        false);
  }
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

// --- movers ---

void World::crash_mover(api::MoverRole role) {
  for (auto& [key, pod] : objects_[Kind::kPod]) {
    if (text_at(pod, {"metadata", "labels", kRole}) == to_string(role))
      pod["status"]["phase"] = "Failed";
  }
  std::erase_if(movers_, [&](const auto& item) {
    return item.first.find("." + std::string(to_string(role)) + ".") != std::string::npos;
  });
}

void World::fail_receive(const std::string& message) {
  for (auto& [name, mover] : movers_) {
    const auto receive = mover.tasks.find(api::TaskKind::kReceive);
    if (receive == mover.tasks.end()) continue;
    receive->second.state.phase = api::TaskPhase::kFailed;
    receive->second.state.message = message;
  }
}

Result<api::MoverState> World::state(const MoverAddress& address) {
  const std::string node = address.host.substr(0, address.host.find('/'));
  if (down_.count(node) != 0) return Error{ErrorCode::kUnavailable, "no route to " + node};
  const std::string name = api::mover_name(address.migration_uid, address.role, address.epoch);
  Mover& mover = movers_[name];
  mover.node = node;
  api::MoverState out;
  out.migration_uid = address.migration_uid;
  out.role = address.role;
  out.epoch = address.epoch;
  out.node_name = node;
  if (!mover.seen_pod.empty()) {
    out.source_processes = frozen_.count(mover.seen_pod) != 0  ? api::SourceProcesses::kFrozen
                           : alive_.count(mover.seen_pod) != 0 ? api::SourceProcesses::kRunning
                                                               : api::SourceProcesses::kNone;
  }
  for (const auto& [kind, task] : mover.tasks) out.tasks[kind] = task.state;
  for (const Object& pod : all(Kind::kPod)) {
    if (address.role != api::MoverRole::kReceiver || claimed_ != uid_of(pod)) continue;
    out.claimed_pod = claimed_;
    const std::string restore = restore_state(pod);
    out.restores.push_back({"db", restore, restore == "Failed" ? restore_problem : ""});
  }
  return out;
}

std::string World::place_of(const Mover& mover, const api::MoverVolume& volume,
                            const api::TaskRequest& request, bool staged) {
  if (!volume.empty_dir && volume.kind == api::TreeKind::kVolume)
    return mover.node + ":" + volume.node_path;
  if (staged) return mover.node + ":/transship/" + request.migration_uid + "/" + volume.name;
  if (const std::string kept = kept_place(mover, volume, request); data_.count(kept) != 0)
    return kept;
  return mover.node + ":/pods/" + request.pod_uid + "/" + volume.name;
}

std::string World::kept_place(const Mover& mover, const api::MoverVolume& volume,
                              const api::TaskRequest& request) {
  return mover.node + ":/kept/" + request.migration_uid + "/" + volume.name;
}

std::string World::do_task(Mover& mover, api::MoverRole role, api::TaskKind kind,
                           const api::TaskRequest& request, api::TaskState& state) {
  using api::TaskKind;
  const bool sender = role == api::MoverRole::kSender;
  if (kind != TaskKind::kPlace && kind != TaskKind::kClaim) mover.seen_pod = request.pod_uid;
  for (const api::MoverVolume& volume : request.volumes) {
    api::VolumeReport report;
    report.name = volume.name;
    report.free_bytes = 1000;
    report.bytes = report.bytes_done = 1;
    report.entries = report.entries_done = entries;
    const std::string from = place_of(mover, volume, request, false);
    const bool is_tree = volume.kind != api::TreeKind::kVolume;
    // Memory is there to be sent once it has been dumped.
    const bool missing =
        volume.kind == api::TreeKind::kMemory && dumped_.count(request.pod_uid) == 0;
    if (kind == TaskKind::kSend && missing) return "no dump of " + volume.name;
    if ((kind == TaskKind::kSend || kind == TaskKind::kPreCopy) && !missing) {
      if (kind == TaskKind::kSend) report.digest = "sha256:" + data_[from];
      // The receiver's half of the same session.
      for (auto& [name, peer] : movers_) {
        if (name !=
            api::mover_name(request.migration_uid, api::MoverRole::kReceiver, request.epoch))
          continue;
        const auto receive = peer.tasks.find(TaskKind::kReceive);
        if (receive == peer.tasks.end()) return "the receiver does not listen";
        for (const api::MoverVolume& there : receive->second.request.volumes) {
          if (there.name != volume.name) continue;
          data_[place_of(peer, there, receive->second.request, true)] = data_[from];
          if (kind == TaskKind::kPreCopy) continue;
          api::VolumeReport received = report;
          received.verified_digest = report.digest;
          receive->second.state.volumes.push_back(received);
        }
        if (kind == TaskKind::kSend) receive->second.state.phase = api::TaskPhase::kSucceeded;
      }
    }
    const std::string into = mover.node + ":/pods/" + request.pod_uid + "/" + volume.name;
    if (kind == TaskKind::kClaim && is_tree)
      data_[into] = data_[place_of(mover, volume, request, true)];
    if (kind == TaskKind::kPlace && !is_tree) {
      const std::string kept = kept_place(mover, volume, request);
      std::string staged = place_of(mover, volume, request, true);
      if (sender) {
        staged = data_.count(kept) != 0
                     ? kept
                     : mover.node + ":/pods/" + request.source_pod_uid + "/" + volume.name;
        if (staged != kept && pinned_.count(request.source_pod_uid) == 0) return "not pinned";
      }
      if (data_.count(staged) != 0) data_[into] = data_[staged];
      data_.erase(staged);
      open_gates_.insert(request.pod_uid);
    }
    if (kind == TaskKind::kKeep && (volume.empty_dir || is_tree)) {
      const std::string kept = kept_place(mover, volume, request);
      if (from != kept) {
        if (pinned_.count(request.pod_uid) == 0) return "not pinned";
        data_[kept] = data_[from];
        data_.erase(from);
      }
    }
    if (kind == TaskKind::kRelease && sender && volume.empty_dir) {
      const std::string kept = kept_place(mover, volume, request);
      if (data_.count(kept) != 0 && !request.discard) return "the data are in no pod";
      data_.erase(kept);
    }
    if (kind == TaskKind::kRelease && !sender) {
      if (request.discard && !volume.empty_dir && !is_tree)
        data_[place_of(mover, volume, request, true)] = "";
      if (volume.empty_dir || is_tree) data_.erase(place_of(mover, volume, request, true));
    }
    state.volumes.push_back(report);
  }
  if (kind == TaskKind::kPreCopy) {
    state.rounds = {{100, 10, 1000}};
    state.estimated_final_milliseconds = final_round_milliseconds;
    passes.push_back(request.pass);
  }
  if (kind == TaskKind::kDump) {
    if (frozen_.count(request.pod_uid) == 0) return "the pod is not frozen";
    dumped_.insert(request.pod_uid);
  }
  if (kind == TaskKind::kThaw) dumped_.erase(request.pod_uid);
  if (kind == TaskKind::kClaim) {
    if (alive_.count(claimed_) != 0) return "the pod before it runs";
    claimed_ = request.pod_uid;
    for (const api::MoverVolume& volume : request.volumes) {
      if (volume.empty_dir) awaits_volumes_.insert(request.pod_uid);
    }
  }
  if (kind == TaskKind::kColdStart) {
    cold_.insert(request.pod_uid);
    // What was in memory is lost, as was asked for.
    for (const char* tree : {"memory.db", "shm.pod"}) acknowledged_.erase(tree);
  }
  if (kind == TaskKind::kPin) pinned_.insert(request.pod_uid);
  if (kind == TaskKind::kKeep) pinned_.erase(request.pod_uid);
  if (kind == TaskKind::kTrialDump) return try_dump(mover, request, state);
  if (kind == TaskKind::kFreeze) return freeze(mover, request);
  if (kind == TaskKind::kSeal) return seal(mover, request);
  if (kind == TaskKind::kThaw) thaw(mover, request.pod_uid);
  if (kind == TaskKind::kKill) end_pod(request.pod_uid);
  if (kind == TaskKind::kRelease && sender) {
    pinned_.erase(request.pod_uid);
    thaw(mover, request.pod_uid);
  }
  return "";
}

std::string World::try_dump(Mover& mover, const api::TaskRequest& request, api::TaskState& state) {
  if (mover.let_go || !mover.froze.empty()) return "the pod was frozen already";
  if (alive_.count(request.pod_uid) == 0) return "the pod has no cgroup";
  ++trials;
  state.frozen_milliseconds = 1500;
  state.dump_milliseconds = 1000;
  for (const api::MoverContainer& container : request.containers) {
    if (!container.memory) continue;
    state.volumes.emplace_back().name = "memory." + container.name;
    state.volumes.back().bytes = 400'000'000;
  }
  return "";
}

std::string World::freeze(Mover& mover, const api::TaskRequest& request) {
  if (mover.let_go) return "the pod goes on, and is not frozen again by this mover";
  if (alive_.count(request.pod_uid) == 0) return "the pod has no cgroup";
  mover.froze = request.pod_uid;
  if (request.freeze_budget_milliseconds > 0)
    mover.thaws = now + std::chrono::milliseconds(request.freeze_budget_milliseconds);
  frozen_.insert(request.pod_uid);
  return "";
}

std::string World::seal(Mover& mover, const api::TaskRequest& request) {
  if (mover.froze != request.pod_uid || mover.let_go || frozen_.count(request.pod_uid) == 0)
    return "the pod is not frozen by this mover";
  mover.sealed = true;
  return "";
}

void World::thaw(Mover& mover, const std::string& pod_uid) {
  frozen_.erase(pod_uid);
  frozen_since_.erase(pod_uid);
  mover.let_go = true;
  mover.sealed = false;
}

// Each sender its own, whatever the operator does; and the kubelet, with the pod's liveness probe.
void World::watch_frozen_pods() {
  std::set<std::string> sealed;
  for (auto& [name, mover] : movers_) {
    if (mover.sealed) sealed.insert(mover.froze);
    const bool holds = !mover.froze.empty() && !mover.sealed && !mover.let_go;
    if (holds && mover.thaws && now >= *mover.thaws) thaw(mover, mover.froze);
  }
  for (const Object& pod : all(Kind::kPod)) {
    if (frozen_.count(uid_of(pod)) == 0 || is_deleting(pod)) continue;
    const Object& probe = at(list_at(pod, {"spec", "containers"})[0], {"livenessProbe"});
    if (!probe.is_object()) continue;
    const WallTime since = frozen_since_.try_emplace(uid_of(pod), now).first->second;
    const auto budget = std::chrono::seconds(
        probe["periodSeconds"].get<int>() * (probe["failureThreshold"].get<int>() - 1) + 1);
    if (now - since >= budget && sealed.count(uid_of(pod)) == 0)
      violations.push_back("a liveness probe killed the frozen pod " + uid_of(pod));
  }
}

void World::check_commit(const Object& status) {
  for (const Object& item : list_at(status, {"conditions"})) {
    if (item["type"] != "Committed" || item["status"] != "True") continue;
    const std::string source = text_at(status, {"source", "podUID"});
    if (alive_.count(source) != 0 && frozen_.count(source) == 0)
      violations.push_back("committed while the source runs");
  }
}

std::optional<int64_t> World::sending_limit() {
  for (const auto& [name, mover] : movers_) {
    const auto send = mover.tasks.find(api::TaskKind::kSend);
    if (send != mover.tasks.end() && send->second.state.phase == api::TaskPhase::kRunning)
      return send->second.state.bandwidth_bytes_per_second;
  }
  return std::nullopt;
}

void World::end_sends() {
  for (auto& [name, mover] : movers_) {
    const auto send = mover.tasks.find(api::TaskKind::kSend);
    if (send == mover.tasks.end() || send->second.state.phase != api::TaskPhase::kRunning) continue;
    Task& task = send->second;
    task.state.message =
        do_task(mover, api::MoverRole::kSender, api::TaskKind::kSend, task.request, task.state);
    task.state.phase =
        task.state.message.empty() ? api::TaskPhase::kSucceeded : api::TaskPhase::kFailed;
  }
}

Result<api::TaskState> World::run(const MoverAddress& address, api::TaskKind kind,
                                  const api::TaskRequest& request) {
  api::TaskState out;
  const Status done = write("task " + std::string(to_string(kind)), [&]() -> Status {
    auto there = state(address);
    if (!there.ok()) return there.error();
    for (const api::MoverVolume& volume : request.volumes) {
      if (!volume.empty_dir && volume.kind == api::TreeKind::kVolume && volume.node_path.empty()) {
        return Error{ErrorCode::kInvalid, "volume " + volume.name + ": nodePath is not absolute"};
      }
    }
    Mover& mover = movers_[api::mover_name(address.migration_uid, address.role, address.epoch)];
    const auto found = mover.tasks.find(kind);
    const bool over =
        found != mover.tasks.end() && found->second.state.phase == api::TaskPhase::kSucceeded;
    const bool further =
        over &&
        ((kind == api::TaskKind::kPreCopy && request.pass > found->second.request.pass) ||
         (kind == api::TaskKind::kClaim && request.pod_uid != found->second.request.pod_uid));
    if (found != mover.tasks.end() && !further &&
        found->second.state.phase != api::TaskPhase::kFailed) {
      api::TaskRequest told = found->second.request;
      told.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
      if (!(told == request)) return Error{ErrorCode::kConflict, "another body"};
      if (found->second.state.phase == api::TaskPhase::kRunning) {
        found->second.request = request;
        found->second.state.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
      }
      out = found->second.state;
      return {};
    }
    if (kind == api::TaskKind::kTrialDump && std::exchange(trial_is_cut_off, false)) {
      frozen_.insert(request.pod_uid);
      crash_mover(api::MoverRole::kSender);
      return Error{ErrorCode::kUnavailable, "the connection ended"};
    }
    const std::string fault = on_task(address.role, kind);
    // It may have stopped the node, and with it the mover.
    if (there = state(address); !there.ok()) return there.error();
    Task& task = mover.tasks[kind];
    task = {request, {}};
    task.state.pass = request.pass;
    task.state.bandwidth_bytes_per_second = request.bandwidth_bytes_per_second;
    if (kind == api::TaskKind::kSend && sends_stall && fault.empty()) {
      out = task.state;
      return {};
    }
    const std::string problem =
        fault.empty() ? do_task(mover, address.role, kind, request, task.state) : fault;
    task.state.phase = problem.empty() ? api::TaskPhase::kSucceeded : api::TaskPhase::kFailed;
    task.state.message = problem;
    if (kind == api::TaskKind::kReceive && problem.empty()) {
      task.state.phase =
          request.volumes.empty() ? api::TaskPhase::kSucceeded : api::TaskPhase::kRunning;
      task.state.volumes.clear();
    }
    out = task.state;
    return {};
  });
  if (!done.ok()) return done.error();
  return out;
}

}  // namespace transship::testing
