// status_error: what a failed answer of the API server means.
// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"
#include "kube/transport.h"

namespace transship::kube {

// For an answer with status >= 300. `tried`: "get pods default/db".
Error status_error(const Response& response, std::string_view tried);

// For a Status object, such as the ERROR event of a watch carries.
Error status_error(const nlohmann::json& status, std::string_view tried);

}  // namespace transship::kube
