// Settings: what the command line decides for the whole controller; the same for every migration.
#pragma once

#include <string>
#include <vector>

namespace transship::controller {

struct Settings {
  std::string operator_namespace =
      "transship-system";   // where Jobs, Secrets and staging claims live
  std::string mover_image;  // also the image of the gate and the reservation pod
  std::string mover_image_pull_policy = "IfNotPresent";
  std::string mover_service_account = "transship-mover";
  std::string kubelet_root = "/var/lib/kubelet";
  // Claims of the operator's namespace that migrations may name in spec.transfer.archive.
  std::vector<std::string> archive_claims = {};
};

}  // namespace transship::controller
