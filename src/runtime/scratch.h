// Scratch: a directory of its own for one restore, which goes when the object does.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace transship::runtime {

class Scratch {
 public:
  // One that is there from an earlier restore is removed.
  static Result<Scratch> make(const std::string& path);
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  // CRIU mounts the node's control groups in it, and where it was killed they are mounted still:
  // they are unmounted first, and where that fails nothing is removed. None there is OK.
  static Status remove(const std::string& path);

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace transship::runtime
