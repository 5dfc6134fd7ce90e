// containerd's configuration as it says it is, and the drop-in that adds a runtime handler to it.
//
// What is read is the output of `containerd config dump`: every setting with its value, after all
// files are merged, in one regular form. So no file that people wrote is ever parsed, or edited.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace transship::runtime {

// The name of the handler, and of the RuntimeClass.
inline constexpr const char* kHandler = "transship";

// kPreconditionFailed: containerd's configuration file has no drop-ins; with what to add to it.
Error no_imports(const std::string& config_file);

class ContainerdConfig {
 public:
  // kPreconditionFailed where it is not containerd 2's: before that a drop-in replaces a plugin's
  // whole configuration instead of adding to it.
  static Result<ContainerdConfig> parse(std::string_view dump);

  // The value of `key` in [`section`] as it is written there ('text', true, 3, []); empty where it
  // is not there. The top of the file is the section "".
  [[nodiscard]] std::string raw(const std::string& section, const std::string& key) const;
  // The same without the quotes of a text.
  [[nodiscard]] std::string text(const std::string& section, const std::string& key) const;

  // The directory whose *.toml are imported; relative ones begin at `config_file`'s directory.
  // kPreconditionFailed, with what to add to the file, where there is none.
  [[nodiscard]] Result<std::string> import_directory(const std::string& config_file) const;

  // BinaryName of the handler `transship`; empty where there is no such handler.
  [[nodiscard]] std::string handler_program() const;
  // BinaryName of the handler that pods get that name none; empty for runc from PATH.
  [[nodiscard]] std::string default_program() const;
  // A file that adds the handler `transship`, which does as the default handler does, by `program`.
  // kPreconditionFailed where the default handler is not runc's.
  [[nodiscard]] Result<std::string> drop_in(const std::string& program) const;

 private:
  [[nodiscard]] std::string handler_section(const std::string& handler) const;

  std::map<std::string, std::map<std::string, std::string>> sections_;
};

}  // namespace transship::runtime
