#include "runtime/bundle.h"

#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

using nlohmann::json;

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// An object's or array's member, or an empty one where it is missing.
json member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() ? *found : json::object();
}

Result<std::string> read_config(const std::string& directory) {
  auto text = read_file(directory + "/config.json");
  if (!text) return text.error();
  if (!text->has_value()) {
    return Error{ErrorCode::kNotFound, "the bundle " + directory + " has no config.json"};
  }
  return std::move(**text);
}

Error damaged(const std::string& directory, const std::string& why) {
  return {ErrorCode::kCorrupt, directory + "/config.json: " + why};
}

// Throws what nlohmann::json throws.
Bundle bundle_of(const std::string& directory, const json& config) {
  Bundle bundle;
  bundle.directory = directory;
  const json annotations = member(config, "annotations");
  bundle.container_type = text_of(annotations, "io.kubernetes.cri.container-type");
  bundle.sandbox_id = text_of(annotations, "io.kubernetes.cri.sandbox-id");
  bundle.pod_uid = text_of(annotations, "io.kubernetes.cri.sandbox-uid");
  bundle.container = text_of(annotations, "io.kubernetes.cri.container-name");
  bundle.rootfs = text_of(member(config, "root"), "path");
  if (!bundle.rootfs.starts_with('/')) bundle.rootfs = directory + "/" + bundle.rootfs;
  for (const json& each : member(member(config, "linux"), "namespaces")) {
    if (text_of(each, "type") == "network") bundle.network_namespace = text_of(each, "path");
    if (text_of(each, "type") == "user") bundle.user_namespace = true;
  }
  for (const json& each : member(config, "mounts")) {
    bundle.mounts.push_back(
        {text_of(each, "destination"), text_of(each, "type"), text_of(each, "source")});
  }
  return bundle;
}

}  // namespace

Result<Bundle> parse_bundle(const std::string& directory, const std::string& config) {
  try {
    const json value = json::parse(config);
    if (!value.is_object()) return damaged(directory, "it is no object");
    return bundle_of(directory, value);
  } catch (const json::exception& problem) {
    return damaged(directory, problem.what());
  }
}

Result<Bundle> read_bundle(const std::string& directory) {
  char absolute[PATH_MAX];
  if (::realpath(directory.c_str(), absolute) == nullptr) {
    return errno_error("look at the bundle " + directory, errno);
  }
  auto config = read_config(absolute);
  if (!config) return config.error();
  return parse_bundle(absolute, *config);
}

Status run_nothing(const std::string& directory, const std::string& program) {
  auto text = read_config(directory);
  if (!text) return text.error();
  try {
    json config = json::parse(*text);
    json& process = config.at("process");
    if (process.at("args") == json::array({kNothing})) return {};
    process["args"] = {kNothing};
    config["mounts"].push_back({{"destination", kNothing},
                                {"type", "bind"},
                                {"source", program},
                                {"options", {"bind", "ro", "nosuid", "nodev"}}});
    return replace_file(directory + "/config.json", config.dump());
  } catch (const json::exception& problem) {
    return damaged(directory, problem.what());
  }
}

}  // namespace transship::runtime
