// The images of a pod whose containers are restored: those on the target have to be the very same.
//
// What a tag means on the target is known there alone. The reservation pod has the pod's images, so
// kubelet says of each by what digest it has it there, and has pulled it before anything is
// stopped.
#include "controller/render/render.h"
#include "controller/steps.h"

namespace transship::controller {
namespace {

// "repository@sha256:..." or "sha256:..." as kubelet gives them.
std::string digest_of(const std::string& image_id) {
  const size_t at_sign = image_id.rfind('@');
  return at_sign == std::string::npos ? image_id : image_id.substr(at_sign + 1);
}

bool is_named_by_digest(const std::string& image) { return image.find('@') != std::string::npos; }

// Why the image cannot be had, where kubelet has given up for now.
std::string pull_problem(const Object& status) {
  const std::string reason = text_at(status, {"state", "waiting", "reason"});
  for (const char* given_up : {"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}) {
    if (reason == given_up) return reason + ": " + text_at(status, {"state", "waiting", "message"});
  }
  return "";
}

struct ComparedImage {
  std::string container;
  std::string image;      // as the pod names it
  std::string at_source;  // imageID
  std::string at_target;  // imageID; empty: not known
  std::string problem;    // of pulling it
};

// "host:5000/name" of "host:5000/name:tag".
std::string without_tag(const std::string& image) {
  const size_t colon = image.rfind(':');
  const size_t slash = image.rfind('/');
  const bool tagged = colon != std::string::npos && (slash == std::string::npos || colon > slash);
  return tagged ? image.substr(0, colon) : image;
}

std::string remedy_of(const ComparedImage& seen, const std::string& target) {
  // One that came from no registry has no digest that it could be asked for by.
  if (!is_named_by_digest(seen.at_source)) return "; have the very same image on " + target;
  return "; name it by digest where the pod is specified (" + without_tag(seen.image) + "@" +
         digest_of(seen.at_source) + "), or have the very same image on " + target;
}

Step compare(Context& context, const ComparedImage& seen) {
  const std::string check = "Image/" + seen.container;
  const std::string& target = context.status.target.node;
  const auto found = [&](const char* result, std::string message) {
    set_check(context.status, {check, result, std::move(message)});
  };
  if (is_named_by_digest(seen.image)) {
    if (seen.problem.empty())
      found("Passed", seen.image + " is on " + target);
    else
      found("Warning", seen.image + " could not be pulled on " + target +
                           " ahead of the pod, which has its own pull secrets: " + seen.problem);
    return std::nullopt;
  }
  const std::string remedy = remedy_of(seen, target);
  const std::string who = "container " + seen.container + ": its image " + seen.image;
  if (!seen.problem.empty()) {
    found("Failed", who + " could not be pulled on " + target + ": " + seen.problem + remedy);
    return context.fail("ImageUnknown", who + " is " + seen.at_source + " on " +
                                            context.status.source.node +
                                            ", and could not be had on " + target +
                                            " to compare it: " + seen.problem + remedy);
  }
  if (digest_of(seen.at_source) != digest_of(seen.at_target)) {
    const std::string both = who + " is " + seen.at_source + " on " + context.status.source.node +
                             " and " + seen.at_target + " on " + target;
    found("Failed", both + remedy);
    return context.fail("ImageDiffers", both + remedy);
  }
  found("Passed", seen.image + " is " + digest_of(seen.at_target) + " on both nodes");
  return std::nullopt;
}

}  // namespace

Step compare_images(Context& context) {
  const std::optional<Object>& reservation = context.observed.reservation;
  if (!context.restores_containers() || !reservation) return std::nullopt;
  const Object& pod = *context.observed.source_pod;
  const std::vector<Object> containers = lasting_containers(pod);
  for (size_t i = 0; i < containers.size(); ++i) {
    const Object& there = container_status(*reservation, render::reserving_container(i));
    ComparedImage seen;
    seen.container = text_at(containers[i], {"name"});
    seen.image = text_at(containers[i], {"image"});
    seen.at_source = text_at(container_status(pod, seen.container), {"imageID"});
    seen.at_target = text_at(there, {"imageID"});
    if (seen.at_target.empty()) {
      seen.problem = pull_problem(there);
      if (seen.problem.empty()) {
        const std::string hint = waiting_message(*reservation);
        return await_prepared(context, "PullingImages",
                              "waiting for the image of container " + seen.container + " on node " +
                                  context.status.target.node + (hint.empty() ? "" : ": " + hint));
      }
    }
    if (Step step = compare(context, seen)) return step;
  }
  return std::nullopt;
}

}  // namespace transship::controller
