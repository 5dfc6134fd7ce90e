#include "runtime/install/pods_using.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/directory_stream.h"
#include "base/unique_fd.h"
#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

// Where containerd keeps the bundle of each container of Kubernetes that has a process. Its shim
// writes the path of the runtime's program, where it is not the default one, into the file
// "runtime".
constexpr const char* kBundles = "/io.containerd.runtime.v2.task/k8s.io";

std::string pod_of(const std::string& bundle, const std::string& id) {
  auto text = read_file(bundle + "/config.json");
  if (!text || !*text) return id;
  const auto spec = nlohmann::json::parse(**text, nullptr, false);
  if (!spec.is_object() || !spec.contains("annotations") || !spec["annotations"].is_object())
    return id;
  const auto& annotations = spec["annotations"];
  const auto of = [&](const char* key) {
    const auto found = annotations.find(key);
    return found != annotations.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const std::string name = of("io.kubernetes.cri.sandbox-name");
  return name.empty() ? id : of("io.kubernetes.cri.sandbox-namespace") + "/" + name;
}

}  // namespace

Result<std::vector<std::string>> pods_using(const std::string& state, const std::string& program) {
  const std::string bundles = state + kBundles;
  const UniqueFd directory(::open(bundles.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) {
    if (errno == ENOENT) return std::vector<std::string>{};
    return errno_error("list " + bundles, errno);
  }
  auto ids = list_directory(directory.get());
  if (!ids) return ids.error();
  std::vector<std::string> pods;
  for (const std::string& id : *ids) {
    std::string bundle = bundles;
    bundle.append("/").append(id);
    auto runtime = read_file(bundle + "/runtime");
    if (!runtime) return runtime.error();
    if (!*runtime || **runtime != program) continue;
    pods.push_back(pod_of(bundle, id));
  }
  std::sort(pods.begin(), pods.end());
  pods.erase(std::unique(pods.begin(), pods.end()), pods.end());
  return pods;
}

}  // namespace transship::runtime
