// What a scrape says, for tests: the value of one line by its exact name and labels.
#pragma once

#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace transship::metrics {

// `labels` are all of the line's, in any order, each as the text format writes it: name="value".
inline std::optional<double> value_of(const std::string& text, const std::string& name,
                                      const std::vector<std::string>& labels = {}) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t name_end = line.find_first_of("{ ");
    if (line.starts_with('#') || line.substr(0, name_end) != name) continue;
    const size_t space = line.rfind(' ');
    const std::string inside =
        line[name_end] == '{' ? line.substr(name_end + 1, line.rfind('}') - name_end - 1) : "";
    size_t length = labels.empty() ? 0 : labels.size() - 1;  // the commas
    bool all = true;
    for (const std::string& label : labels) {
      length += label.size();
      all = all && ("," + inside + ",").find("," + label + ",") != std::string::npos;
    }
    if (all && length == inside.size()) return std::stod(line.substr(space + 1));
  }
  return std::nullopt;
}

}  // namespace transship::metrics
