// OverlayMount: a container's root as containerd has mounted it, which is unmounted while the
// directory under it is changed: what overlayfs does with a change behind its back is undefined
// (filesystems/overlayfs.rst, "Changes to underlying filesystems").
#pragma once

#include <string>

#include "base/result.h"

namespace transship::runtime {

struct OverlayMount {
  std::string target;
  unsigned long flags = 0;  // mount(2)'s
  // What it is made of; lower directories that are relative are so to the snapshots' directory.
  std::string lower;
  std::string upper;
  std::string work;
  std::string other_options;  // each with a comma before it

  // The topmost mount at `target`. kPreconditionFailed, saying which snapshotter is needed, where
  // it is no overlay that can be written to.
  static Result<OverlayMount> find(const std::string& target);
  // Of the text of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
  static Result<OverlayMount> parse(const std::string& target, const std::string& mountinfo);

  // All programs that have it open must be gone: there are none before a container is created.
  [[nodiscard]] Status unmount() const;
  // With the same options.
  [[nodiscard]] Status mount() const;

  // mount(2)'s data, at most a page; paths below `base`, the working directory, are relative.
  [[nodiscard]] Result<std::string> options(const std::string& base) const;
};

}  // namespace transship::runtime
