#include "controller/node_records.h"

#include "controller/names.h"
#include "controller/node_facts.h"
#include "controller/runtime_nodes.h"

namespace transship::controller {
namespace {

constexpr const char* kGone = "the installer's pod is gone from the node";
// An update takes a pod away before the next one comes.
constexpr std::chrono::milliseconds kUntilItGoes(60'000);
// What the schema allows of it.
constexpr size_t kMostText = 128;
constexpr size_t kMostFeatures = 512;

std::string bounded(const std::string& text) { return text.substr(0, kMostText); }

Object features_of(const NodeFacts& facts) {
  Object out = Object::array();
  for (const std::string& feature : facts.features) {
    if (out.size() < kMostFeatures && feature.size() <= 64) out.push_back(feature);
  }
  return out;
}

}  // namespace

Object node_record(const Object& node, const std::vector<Object>& runtime_pods) {
  const std::string name = name_of(node);
  const std::string problem = runtime_problem(runtime_pods, name);
  const auto found = facts_of(runtime_pods, name);
  const NodeFacts facts = found.value_or(NodeFacts());
  const char* tested = !found ? "Unknown" : facts.problem.empty() ? "Passed" : "Failed";
  return {{"apiVersion", "transship.dev/v1alpha1"},
          {"kind", "TransshipNode"},
          {"metadata",
           {{"name", name},
            {"ownerReferences",
             {{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", name}, {"uid", uid_of(node)}}}}}},
          {"status",
           {{"ready", problem.empty()},
            {"message", problem.substr(0, 4096)},
            {"selfTest", tested},
            {"runtimeVersion", bounded(facts.runtime)},
            {"criuVersion", bounded(facts.criu)},
            {"runcVersion", bounded(facts.runc)},
            {"containerdVersion", bounded(facts.containerd)},
            {"kernelVersion", bounded(facts.kernel)},
            {"cgroupVersion", facts.cgroups},
            {"cpu", bounded(facts.cpu)},
            {"cpuFeatures", features_of(facts)},
            {"xsaveBytes", facts.xsave_bytes}}}};
}

Status NodeRecords::write(const Object& wanted, const std::optional<Object>& there) {
  if (!there) {
    auto made = cluster_.create(Kind::kTransshipNode, wanted, false);
    return made.ok() ? Status() : Status(made.error());
  }
  // A node of that name that was made anew is another one.
  const Object& owners = list_at(*there, {"metadata", "ownerReferences"});
  const std::string uid = text_at(wanted["metadata"]["ownerReferences"][0], {"uid"});
  const bool same_node = !owners.empty() && text_at(owners[0], {"uid"}) == uid;
  if (same_node && at(*there, {"status"}) == wanted["status"]) return {};
  return cluster_.patch(Kind::kTransshipNode, "", name_of(wanted),
                        {{"metadata",
                          {{"resourceVersion", text_at(*there, {"metadata", "resourceVersion"})},
                           {"ownerReferences", wanted["metadata"]["ownerReferences"]}}},
                         {"status", wanted["status"]}});
}

Result<std::optional<std::chrono::milliseconds>> NodeRecords::reconcile(const std::string& node) {
  constexpr std::optional<std::chrono::milliseconds> kDone;
  auto pods =
      cluster_.list(Kind::kPod, settings_.operator_namespace, kRuntimePods, Freshness::kLatest);
  if (!pods) return pods.error();
  std::erase_if(*pods, [&](const Object& pod) {
    return text_at(pod, {"spec", "nodeName"}) != node;
  });
  auto there = cluster_.get(Kind::kTransshipNode, "", node);
  if (!there) return there.error();
  auto seen = cluster_.get(Kind::kNode, "", node);
  if (!seen) return seen.error();
  if (!*seen) return kDone;  // its record is collected with it
  if (!pods->empty()) {
    TRANSSHIP_TRY(write(node_record(**seen, *pods), *there));
    return kDone;
  }
  if (!*there) return kDone;
  if (text_at(**there, {"status", "message"}) == kGone) {
    TRANSSHIP_TRY(
        cluster_.remove(Kind::kTransshipNode, "", node, {uid_of(**there), "", std::nullopt}));
    return kDone;
  }
  TRANSSHIP_TRY(cluster_.patch(Kind::kTransshipNode, "", node,
                               {{"status", {{"ready", false}, {"message", kGone}}}}));
  return std::optional(kUntilItGoes);
}

Result<std::vector<std::string>> NodeRecords::names() {
  auto all = cluster_.list(Kind::kTransshipNode, "", "", Freshness::kLatest);
  if (!all) return all.error();
  std::vector<std::string> out;
  for (const Object& record : *all) out.push_back(name_of(record));
  return out;
}

}  // namespace transship::controller
