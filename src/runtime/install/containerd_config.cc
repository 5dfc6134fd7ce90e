#include "runtime/install/containerd_config.h"

#include <algorithm>
#include <cstdlib>
#include <set>

namespace transship::runtime {
namespace {

constexpr const char* kContainerd = "plugins.'io.containerd.cri.v1.runtime'.containerd";
// Merging drop-ins into a plugin's configuration came with this version of it, in containerd 2.0.
constexpr int kVersion = 3;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string unquoted(std::string_view value) {
  const bool quoted = value.size() >= 2 && (value.front() == '\'' || value.front() == '"') &&
                      value.back() == value.front();
  return std::string(quoted ? value.substr(1, value.size() - 2) : value);
}

// The texts of an array of texts: "['a', 'b']".
std::vector<std::string> texts_of(std::string_view array) {
  std::vector<std::string> texts;
  for (size_t at = array.find_first_of("'\""); at != std::string_view::npos;
       at = array.find_first_of("'\"", at)) {
    const size_t end = array.find(array[at], at + 1);
    if (end == std::string_view::npos) break;
    texts.emplace_back(array.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return texts;
}

bool is_nothing(const std::string& value) {
  static const std::set<std::string> kNothing = {"", "''", "\"\"", "0", "false", "[]", "{}"};
  return kNothing.contains(value);
}

// "key = value" lines of what the default handler has and is not nothing, but for `left_out`.
std::string copied(const std::map<std::string, std::string>& settings,
                   const std::set<std::string>& left_out, const char* indent) {
  std::string lines;
  for (const auto& [key, value] : settings) {
    if (left_out.contains(key) || is_nothing(value)) continue;
    lines.append(indent).append(key).append(" = ").append(value).append("\n");
  }
  return lines;
}

}  // namespace

Result<ContainerdConfig> ContainerdConfig::parse(std::string_view dump) {
  ContainerdConfig config;
  std::string section;
  while (!dump.empty()) {
    const size_t end = std::min(dump.find('\n'), dump.size());
    const std::string_view line = trimmed(dump.substr(0, end));
    dump.remove_prefix(std::min(end + 1, dump.size()));
    const size_t equals = line.find(" = ");
    if (line.size() > 2 && line.front() == '[' && line.back() == ']' &&
        equals == std::string_view::npos) {
      section = line.substr(1, line.size() - 2);
    } else if (equals != std::string_view::npos && line.front() != '#') {
      config.sections_[section][std::string(trimmed(line.substr(0, equals)))] =
          trimmed(line.substr(equals + 3));
    }
  }
  const std::string version = config.raw("", "version");
  if (std::atoi(version.c_str()) >= kVersion) return config;
  return Error{
      ErrorCode::kPreconditionFailed,
      "containerd's configuration has version " + (version.empty() ? "none" : version) +
          ": a runtime handler can be added by a drop-in since containerd 2.0 (version 3)"};
}

std::string ContainerdConfig::raw(const std::string& section, const std::string& key) const {
  const auto found = sections_.find(section);
  if (found == sections_.end()) return "";
  const auto value = found->second.find(key);
  return value == found->second.end() ? "" : value->second;
}

std::string ContainerdConfig::text(const std::string& section, const std::string& key) const {
  return unquoted(raw(section, key));
}

Error no_imports(const std::string& config_file) {
  return Error{
      ErrorCode::kPreconditionFailed,
      config_file +
          " imports no drop-ins, and is not edited by this program: put the line "
          "imports = ['/etc/containerd/conf.d/*.toml'] at its top, before the first [...]"};
}

Result<std::string> ContainerdConfig::import_directory(const std::string& config_file) const {
  constexpr std::string_view kPattern = "/*.toml";
  for (const std::string& pattern : texts_of(raw("", "imports"))) {
    if (!pattern.ends_with(kPattern)) continue;
    std::string directory = pattern.substr(0, pattern.size() - kPattern.size());
    if (directory.find('*') != std::string::npos) continue;
    if (directory.starts_with('/')) return directory;
    return config_file.substr(0, config_file.rfind('/') + 1) + directory;
  }
  return no_imports(config_file);
}

std::string ContainerdConfig::handler_section(const std::string& handler) const {
  const std::string prefix = std::string(kContainerd) + ".runtimes.";
  const std::string quoted = prefix + "'" + handler + "'";
  return sections_.contains(quoted) ? quoted : prefix + handler;
}

std::string ContainerdConfig::handler_program() const {
  return text(handler_section(kHandler) + ".options", "BinaryName");
}

std::string ContainerdConfig::default_program() const {
  return text(handler_section(text(kContainerd, "default_runtime_name")) + ".options",
              "BinaryName");
}

Result<std::string> ContainerdConfig::drop_in(const std::string& program) const {
  const std::string name = text(kContainerd, "default_runtime_name");
  const auto handler = sections_.find(handler_section(name));
  if (name.empty() || handler == sections_.end()) {
    return Error{ErrorCode::kPreconditionFailed,
                 "containerd has no runtime handler for pods (default_runtime_name is \"" + name +
                     "\"): is its CRI plugin off?"};
  }
  const std::string type = text(handler->first, "runtime_type");
  const std::string binary = default_program();
  const std::string base = binary.substr(binary.rfind('/') + 1);
  if (type != "io.containerd.runc.v2" || !text(handler->first, "runtime_path").empty() ||
      (!base.empty() && base != "runc")) {
    return Error{ErrorCode::kPreconditionFailed,
                 "containerd's default runtime handler \"" + name + "\" is " + type + " with " +
                     (base.empty() ? "runc" : binary) + ": only runc can be wrapped"};
  }
  const std::string section = std::string(kContainerd) + ".runtimes." + kHandler;
  const auto options = sections_.find(handler->first + ".options");
  const std::map<std::string, std::string> none;
  const std::string cgroups = raw(handler->first + ".options", "SystemdCgroup");
  return "# Written by transship-runtime install, and again at its next start.\nversion = 3\n\n[" +
         section + "]\n  runtime_type = 'io.containerd.runc.v2'\n" +
         copied(handler->second, {"runtime_type", "runtime_path", "sandboxer", "io_type"}, "  ") +
         "  [" + section + ".options]\n    BinaryName = '" + program +
         "'\n    SystemdCgroup = " + (cgroups.empty() ? "false" : cgroups) + "\n" +
         copied(options == sections_.end() ? none : options->second,
                {"BinaryName", "SystemdCgroup"}, "    ");
}

}  // namespace transship::runtime
