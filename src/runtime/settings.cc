#include "runtime/settings.h"

#include <unistd.h>

#include <climits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

constexpr int kMostSeconds = 86400;

// Where it was replaced since this process began, the one that has taken its place.
std::string own_path() {
  constexpr std::string_view kReplaced = " (deleted)";
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  std::string own(path, n > 0 ? static_cast<size_t>(n) : 0);
  if (own.ends_with(kReplaced)) own.resize(own.size() - kReplaced.size());
  return own;
}

}  // namespace

Result<Settings> read_settings(const std::string& file) {
  using nlohmann::json;
  Settings settings;
  settings.self = own_path();
  auto text = read_file(file);
  if (!text) return text.error();
  if (!text->has_value()) return settings;
  try {
    const json value = json::parse(**text);
    if (!value.is_object()) return Error{ErrorCode::kCorrupt, file + ": there is no setting in it"};
    for (const auto& [key, each] : value.items()) {
      if (key == "runc") {
        settings.runc = each.get<std::string>();
      } else if (key == "criu") {
        settings.criu = each.get<std::string>();
      } else if (key == "restoreSeconds") {
        const auto seconds = each.get<double>();
        if (!each.is_number_integer() || seconds < 1 || seconds > kMostSeconds) {
          return Error{ErrorCode::kInvalid, file +
                                                ": restoreSeconds is no whole number from 1 to " +
                                                std::to_string(kMostSeconds)};
        }
        settings.restore_deadline = std::chrono::seconds(each.get<int>());
      } else {
        return Error{ErrorCode::kInvalid,
                     std::string(file).append(": there is no setting ").append(key)};
      }
    }
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kCorrupt, file + ": " + problem.what()};
  }
  if (settings.runc.empty()) return Error{ErrorCode::kInvalid, file + ": runc is empty"};
  if (!settings.criu.empty() && !settings.criu.starts_with('/')) {
    return Error{ErrorCode::kInvalid, file + ": criu is no absolute path"};
  }
  return settings;
}

}  // namespace transship::runtime
