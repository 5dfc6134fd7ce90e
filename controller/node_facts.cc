#include "controller/node_facts.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <utility>

#include "controller/runtime_nodes.h"

namespace transship::controller {
namespace {

constexpr size_t kMostNamed = 8;  // of many features

std::pair<int, int> major_minor(const std::string& version) {
  int major = 0;
  int minor = 0;
  std::sscanf(version.c_str(), "%d.%d", &major, &minor);
  return {major, minor};
}

void say(std::string& text, const std::string& item) { text += (text.empty() ? "" : "; ") + item; }

int64_t number_at(const Object& object, const char* key) {
  const Object& value = at(object, {key});
  return value.is_number_integer() ? value.get<int64_t>() : 0;
}

std::string missing_features(const NodeFacts& source, const NodeFacts& target) {
  std::vector<std::string> missing;
  std::set_difference(source.features.begin(), source.features.end(), target.features.begin(),
                      target.features.end(), std::back_inserter(missing));
  std::string out;
  for (size_t i = 0; i < std::min(missing.size(), kMostNamed); ++i) out += " " + missing[i];
  if (missing.size() > kMostNamed)
    out += " and " + std::to_string(missing.size() - kMostNamed) + " more";
  return out;
}

void compare_processors(const NodeFacts& source, const std::string& source_name,
                        const NodeFacts& target, const std::string& target_name,
                        NodeDifferences& out) {
  constexpr const char* kElse = ": choose a node whose processors have all that the source's have";
  const std::string missing = missing_features(source, target);
  if (!missing.empty()) {
    say(out.fatal, "the processors of node " + target_name + " (" + target.cpu + ") lack" +
                       missing + ", which those of " + source_name + " (" + source.cpu +
                       ") have and programs may be using" + kElse);
  } else if (target.xsave_bytes > 0 && source.xsave_bytes > target.xsave_bytes) {
    say(out.fatal, "threads have " + std::to_string(source.xsave_bytes) +
                       " bytes of registers on node " + source_name + " and " +
                       std::to_string(target.xsave_bytes) + " on " + target_name + kElse);
  }
}

}  // namespace

std::optional<NodeFacts> facts_of(const Object& runtime_pod) {
  for (const Object& status : list_at(runtime_pod, {"status", "initContainerStatuses"})) {
    if (text_at(status, {"name"}) != "inspect") continue;
    for (const char* state : {"state", "lastState"}) {
      const Object said =
          Object::parse(text_at(status, {state, "terminated", "message"}), nullptr, false);
      if (!said.is_object() || text_at(said, {"kernel"}).empty()) continue;
      NodeFacts facts;
      facts.runtime = text_at(said, {"version"});
      facts.kernel = text_at(said, {"kernel"});
      facts.cgroups = number_at(said, "cgroups");
      facts.cpu = text_at(said, {"cpu"});
      facts.xsave_bytes = number_at(said, "xsaveBytes");
      facts.containerd = text_at(said, {"containerd"});
      facts.runc = text_at(said, {"runc"});
      facts.criu = text_at(said, {"criu"});
      facts.problem = text_at(said, {"problem"});
      std::istringstream words(text_at(said, {"cpuFeatures"}));
      for (std::string word; words >> word;) facts.features.insert(word);
      return facts;
    }
  }
  return std::nullopt;
}

std::optional<NodeFacts> facts_of(const std::vector<Object>& runtime_pods,
                                  const std::string& node) {
  std::optional<NodeFacts> found;
  for (const Object& pod : runtime_pods) {
    if (text_at(pod, {"spec", "nodeName"}) != node) continue;
    // The next one, where one is going.
    if (auto facts = facts_of(pod); facts && (!found || !is_deleting(pod))) found = facts;
  }
  return found;
}

NodeDifferences compare_nodes(const NodeFacts& source, const std::string& source_name,
                              const NodeFacts& target, const std::string& target_name) {
  NodeDifferences out;
  compare_processors(source, source_name, target, target_name, out);
  if (source.cgroups != target.cgroups) {
    say(out.fatal, "node " + source_name + " has control groups of version " +
                       std::to_string(source.cgroups) + " and " + target_name + " of version " +
                       std::to_string(target.cgroups) +
                       ", and containers have them mounted: choose a node that has the same");
  }
  if (major_minor(source.criu) > major_minor(target.criu)) {
    say(out.fatal, "CRIU on node " + source_name + " is " + source.criu + ", and that on " +
                       target_name + ", " + target.criu +
                       ", may not know what it writes: install the newer one there");
  }
  if (major_minor(source.runc) != major_minor(target.runc)) {
    say(out.risky, "runc is " + source.runc + " on node " + source_name + " and " + target.runc +
                       " on " + target_name);
  }
  if (major_minor(source.kernel) > major_minor(target.kernel)) {
    say(out.risky, "Linux is " + source.kernel + " on node " + source_name + " and " +
                       target.kernel + " on " + target_name +
                       ": a program may use what the older one lacks");
  }
  return out;
}

NodeDifferences compare_nodes(const std::vector<Object>& runtime_pods, const std::string& source,
                              const std::string& target) {
  const auto here = facts_of(runtime_pods, source);
  const auto there = facts_of(runtime_pods, target);
  if (here && there) return compare_nodes(*here, source, *there, target);
  return {"", "node " + (here ? target : source) +
                  " has no transship-runtime that says what it is: processors and versions of the "
                  "two nodes were not compared"};
}

std::vector<std::string> unsuitable_nodes(const std::vector<Object>& runtime_pods,
                                          const std::string& source, bool memory) {
  RuntimeNodes nodes = runtime_nodes(runtime_pods);
  for (const std::string& node : nodes.ready) {
    if (memory && node != source && !compare_nodes(runtime_pods, source, node).fatal.empty())
      nodes.unready.push_back(node);
  }
  return nodes.unready;
}

}  // namespace transship::controller
