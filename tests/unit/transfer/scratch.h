// Scratch: a directory of a test, on disk or on a small tmpfs of its own, gone with it.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace transship::transfer {

class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Mounts a tmpfs with these options ("size=1m") over it; false where this process may not.
  bool mount_tmpfs(const std::string& options);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }
  // A descriptor of it, or of the directory `name` in it, which is made.
  [[nodiscard]] UniqueFd open() const;
  [[nodiscard]] UniqueFd open(const std::string& name) const;
  void write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
  bool mounted_ = false;
};

struct ShellResult {
  int status = 0;
  std::string output;  // standard output; standard error goes to `errors`
  std::string errors;
};

// Runs `command` with bash in `directory`.
ShellResult shell(const std::string& directory, const std::string& command);

// The recipe of docs/volume-digest.md, run by the shell.
std::string recipe_digest(const std::string& volume);

}  // namespace transship::transfer
