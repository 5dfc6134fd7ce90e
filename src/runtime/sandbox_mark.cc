#include "runtime/sandbox_mark.h"

#include <unistd.h>

#include <optional>

#include "runtime/claim_text.h"
#include "runtime/durable_file.h"

namespace transship::runtime {
namespace {

// By the sandbox's ID, the pod's UID: `delete` has nothing else. No UID begins with a dot.
std::string pod_file(const Settings& settings, const std::string& sandbox_id) {
  return settings.sandboxes + "/.pods/" + sandbox_id;
}

std::optional<std::string> pod_of(const Settings& settings, const std::string& sandbox_id) {
  if (!is_plain_name(sandbox_id)) return std::nullopt;
  const auto text = read_file(pod_file(settings, sandbox_id));
  if (!text || !text->has_value() || !is_plain_name(**text)) return std::nullopt;
  return **text;
}

}  // namespace

Status mark_sandbox(const Settings& settings, const std::string& pod_uid,
                    const std::string& sandbox_id) {
  if (!is_plain_name(sandbox_id)) {
    return Error{ErrorCode::kInvalid, "the sandbox's ID \"" + sandbox_id + "\" is no plain name"};
  }
  TRANSSHIP_TRY(make_directories(settings.sandboxes + "/.pods"));
  TRANSSHIP_TRY(replace_file(pod_file(settings, sandbox_id), pod_uid));
  return replace_file(settings.sandboxes + "/" + pod_uid, sandbox_id);
}

bool is_marked_sandbox(const Settings& settings, const std::string& sandbox_id) {
  return pod_of(settings, sandbox_id).has_value();
}

void unmark_sandbox(const Settings& settings, const std::string& sandbox_id) {
  const auto pod_uid = pod_of(settings, sandbox_id);
  if (!pod_uid) return;
  const std::string mark = settings.sandboxes + "/" + *pod_uid;
  const auto last = read_file(mark);
  if (last && last->value_or("") == sandbox_id) (void)::unlink(mark.c_str());
  (void)::unlink(pod_file(settings, sandbox_id).c_str());
}

}  // namespace transship::runtime
