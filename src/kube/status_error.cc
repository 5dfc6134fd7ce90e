#include "kube/status_error.h"

#include <algorithm>
#include <cstdint>

namespace transship::kube {
namespace {

constexpr std::size_t kMaxMessageBytes = 2048;
constexpr std::int64_t kLongestRetryAfterSeconds = 3600;

// The first `limit` bytes at most, and no half of a UTF-8 character at the end.
std::string bounded(std::string text) {
  std::size_t limit = kMaxMessageBytes;
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  text.resize(limit);
  return text;
}

ErrorCode code_of(int status, std::string_view reason) {
  switch (status) {
    case 401:
    case 403:
      return ErrorCode::kForbidden;
    case 404:
      return ErrorCode::kNotFound;
    case 408:
    case 504:
      return ErrorCode::kTimeout;
    case 409:
      return reason == "AlreadyExists" ? ErrorCode::kAlreadyExists : ErrorCode::kConflict;
    case 410:
      return ErrorCode::kGone;
    case 429:
      return ErrorCode::kUnavailable;
    default:
      if (status >= 500) return ErrorCode::kUnavailable;
      return status >= 400 ? ErrorCode::kInvalid : ErrorCode::kInternal;
  }
}

std::string text_at(const nlohmann::json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

int number_at(const nlohmann::json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_number_integer()) return 0;
  return static_cast<int>(
      std::clamp<std::int64_t>(found->get<std::int64_t>(), 0, kLongestRetryAfterSeconds));
}

Error make(int status, const std::string& reason, const std::string& message,
           int retry_after_seconds, std::string_view tried) {
  std::string text(tried);
  text += ": HTTP " + std::to_string(status);
  if (!reason.empty()) text += ' ' + reason;
  if (!message.empty()) text += ": " + message;
  return {code_of(status, reason), bounded(std::move(text)), retry_after_seconds};
}

bool is_status(const nlohmann::json& object) {
  return object.is_object() && text_at(object, "kind") == "Status";
}

}  // namespace

Error status_error(const Response& response, std::string_view tried) {
  const auto object = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (!is_status(object)) {
    return make(response.status, {}, response.body, response.retry_after_seconds, tried);
  }
  // The status of the answer counts, whatever the object says about it.
  nlohmann::json status = object;
  status["code"] = response.status;
  Error error = status_error(status, tried);
  if (response.retry_after_seconds > 0) error.retry_after_seconds = response.retry_after_seconds;
  return error;
}

Error status_error(const nlohmann::json& status, std::string_view tried) {
  if (!is_status(status)) {
    return {ErrorCode::kInternal, bounded(std::string(tried) + ": no Status object")};
  }
  const auto details = status.find("details");
  const bool detailed = details != status.end() && details->is_object();
  return make(number_at(status, "code"), text_at(status, "reason"), text_at(status, "message"),
              detailed ? number_at(*details, "retryAfterSeconds") : 0, tried);
}

}  // namespace transship::kube
