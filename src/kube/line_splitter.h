// LineSplitter: lines out of pieces that end anywhere.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace transship::kube {

class LineSplitter {
 public:
  // `on_line` gets each line that is not empty, without its end; false: it wants no more. It
  // outlives the splitter.
  LineSplitter(const std::function<bool(std::string_view)>& on_line, std::size_t max_bytes)
      : on_line_(on_line), max_bytes_(max_bytes) {}

  // False: `on_line` wants no more. kInvalid: a line has more than `max_bytes`.
  Result<bool> add(std::string_view piece) {
    for (;;) {
      const std::size_t end = piece.find('\n');
      const std::string_view part = piece.substr(0, end);
      if (begun_.size() + part.size() > max_bytes_) {
        return Error{ErrorCode::kInvalid, "a line of the answer is longer than " +
                                              std::to_string(max_bytes_) + " bytes"};
      }
      begun_ += part;
      if (end == std::string_view::npos) return true;
      if (!finish()) return false;
      piece.remove_prefix(end + 1);
    }
  }

  // What came since the last line's end is a line. As add().
  bool finish() {
    if (begun_.ends_with('\r')) begun_.pop_back();
    const std::string line = std::exchange(begun_, {});
    return line.empty() || on_line_(line);
  }

 private:
  const std::function<bool(std::string_view)>& on_line_;
  const std::size_t max_bytes_;
  std::string begun_;
};

}  // namespace transship::kube
