// Layer: the staged upper directory of a container's root, put into its new root before anything
// runs in it.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

// The upper directory of the overlay mounted at `rootfs` holds exactly what `staged` does: what was
// in it before, of an earlier try, goes. Files are the staged ones by hard link; nothing of
// `staged` is changed, so another try can have it again. On failure the root is mounted all the
// same where that can be, and its upper directory may hold part of it: nothing may be started in
// it. kNotFound: `staged` is not there.
Status apply_layer(const std::string& staged, const std::string& rootfs);

}  // namespace transship::runtime
