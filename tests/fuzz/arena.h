// Arena: a directory to receive into, in memory, and one beside it that nobody may touch.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace transship::transfer {

class Arena {
 public:
  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Empty again.
  UniqueFd open();
  // Ends the program where anything beside it is not as it was.
  void check() const;

 private:
  [[nodiscard]] std::string around() const;

  std::string path_;
  std::string before_;
};

}  // namespace transship::transfer
