// World's controllers, scheduler and kubelets.
#include <algorithm>

#include "controller/names.h"
#include "controller/objects.h"
#include "tests/scenarios/world.h"

namespace transship::testing {

using namespace controller;  // NOLINT: this is their counterpart

namespace {

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

}  // namespace transship::testing
