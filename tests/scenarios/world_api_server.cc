// World's API server: what is kept, and who may write it.
#include <algorithm>

#include "controller/names.h"
#include "controller/objects.h"
#include "controller/runtime_nodes.h"
#include "controller/status.h"
#include "tests/scenarios/world.h"

namespace transship::testing {

using namespace controller;  // NOLINT: this is their counterpart

namespace {

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

}  // namespace

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

}  // namespace transship::testing
