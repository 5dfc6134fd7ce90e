#include "runtime/permit.h"

#include <unistd.h>

#include <cerrno>

#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

constexpr const char* kFirst = "first";
constexpr const char* kNotFirst = "not first";

}  // namespace

Permit::Permit(const PodClaim& pod, const std::string& container, const std::string& id)
    : directory_(pod.directory() + "/" + container), path_(directory_ + "/permit." + id) {}

Status Permit::grant(bool first) const { return replace_file(path_, first ? kFirst : kNotFirst); }

Result<std::optional<bool>> Permit::take() const {
  auto text = read_file(path_);
  if (!text) return text.error();
  if (!text->has_value()) return std::optional<bool>{};
  if (::unlink(path_.c_str()) != 0) return errno_error("remove " + path_, errno);
  TRANSSHIP_TRY(sync_directory(directory_));
  return std::optional<bool>(**text == kFirst);
}

}  // namespace transship::runtime
