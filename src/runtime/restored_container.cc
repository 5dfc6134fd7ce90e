#include "runtime/restored_container.h"

#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "runtime/claim_text.h"
#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

using nlohmann::json;

std::string path_of(const Settings& settings, const std::string& id) {
  return settings.containers + "/" + id;
}

}  // namespace

Result<std::optional<RestoredContainer>> find_restored(const Settings& settings,
                                                       const std::string& id) {
  if (!is_plain_name(id)) return std::optional<RestoredContainer>{};
  const std::string path = path_of(settings, id);
  auto text = read_file(path);
  if (!text) return text.error();
  if (!text->has_value()) return std::optional<RestoredContainer>{};
  try {
    const json value = json::parse(**text);
    return std::optional<RestoredContainer>({.id = id,
                                             .pod_uid = value.at("podUid"),
                                             .container = value.at("container"),
                                             .network_namespace = value.at("networkNamespace"),
                                             .memory = value.at("memory"),
                                             .started = value.at("started")});
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kCorrupt, path + ": " + problem.what()};
  }
}

Status write_restored(const Settings& settings, const RestoredContainer& container) {
  if (!is_plain_name(container.id)) {
    return Error{ErrorCode::kInvalid, "the container ID " + container.id + " is no plain name"};
  }
  TRANSSHIP_TRY(make_directories(settings.containers));
  const json value = {{"podUid", container.pod_uid},
                      {"container", container.container},
                      {"networkNamespace", container.network_namespace},
                      {"memory", container.memory},
                      {"started", container.started}};
  return replace_file(path_of(settings, container.id), value.dump() + "\n");
}

Status remove_restored(const Settings& settings, const std::string& id) {
  if (!is_plain_name(id) || ::unlink(path_of(settings, id).c_str()) == 0 || errno == ENOENT) {
    return {};
  }
  return errno_error("remove " + path_of(settings, id), errno);
}

}  // namespace transship::runtime
