// Permit: what a restore needs once before its processes may come near their first instruction. One
// that is there says for certain that none of the processes has run, and, under the claim's lock
// when whoever had that is dead, that none ever will.
//
// `create` grants it before it begins, and takes it when CRIU asks (its post-restore action): CRIU
// has mapped all memory then, and holds every process in its own code. Unless it is told that the
// permit was taken, it kills them all.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/claim.h"

namespace transship::runtime {

class Permit {
 public:
  // Of one attempt, by the runtime's ID. Both are plain names.
  Permit(const PodClaim& pod, const std::string& container, const std::string& id);

  // Durable. `first`: this attempt brings what the pod shares. Again is fine.
  [[nodiscard]] Status grant(bool first) const;

  // Takes it, durably: its `first`; nullopt where there is none.
  [[nodiscard]] Result<std::optional<bool>> take() const;

 private:
  std::string directory_;
  std::string path_;
};

}  // namespace transship::runtime
