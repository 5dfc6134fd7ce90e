#include "runtime/arguments.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace transship::runtime {
namespace {

using Names = std::vector<std::string_view>;

struct Grammar {
  Names flags;   // those that may stand alone
  Names values;  // those that take the next word, unless they have "="
};

const Grammar kGlobal = {{"debug", "systemd-cgroup", "help", "h", "version", "v"},
                         {"log", "log-format", "root", "rootless", "criu"}};

struct Command {
  std::string_view name;
  Grammar grammar;
};

// The commands that mean something here.
const std::array kCommands = {
    Command{"create",
            {{"no-pivot", "no-new-keyring", "help", "h"},
             {"bundle", "b", "console-socket", "pidfd-socket", "pid-file", "preserve-fds"}}},
    Command{"start", {{"help", "h"}, {}}},
    Command{"kill", {{"all", "a", "help", "h"}, {}}},
    Command{"delete", {{"force", "f", "help", "h"}, {}}},
};

bool has(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

struct Option {
  std::string name;  // without dashes
  std::string value;
  size_t words = 1;  // that it takes
  bool known = false;
};

// The option at words[at]; nullopt where that is none.
std::optional<Option> option_at(const std::vector<std::string>& words, size_t at,
                                const Grammar& grammar) {
  std::string_view text = words[at];
  if (text.size() < 2 || text.front() != '-' || text == "--") return std::nullopt;
  text.remove_prefix(text[1] == '-' ? 2 : 1);
  Option option;
  const size_t equals = text.find('=');
  option.name = std::string(text.substr(0, equals));
  const bool takes_value = has(grammar.values, option.name);
  option.known = takes_value || has(grammar.flags, option.name);
  if (equals != std::string_view::npos) {
    option.value = std::string(text.substr(equals + 1));
  } else if (takes_value && at + 1 < words.size()) {
    option.value = words[at + 1];
    option.words = 2;
  }
  return option;
}

void take_global(Arguments& arguments, const Option& option) {
  if (option.name == "root") arguments.root = option.value;
  if (option.name == "log") arguments.log = option.value;
  if (option.name == "log-format") arguments.json_log = option.value == "json";
}

void take(Arguments& arguments, const Option& option) {
  if (option.name == "bundle" || option.name == "b") arguments.bundle = option.value;
  if (option.name == "console-socket") arguments.console_socket = option.value;
  if (option.name == "pid-file") arguments.pid_file = option.value;
  if (option.name == "no-pivot") arguments.no_pivot = option.value != "false";
}

void parse_command(Arguments& arguments, const std::vector<std::string>& words, size_t at) {
  const auto command = std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& each) {
    return each.name == arguments.command;
  });
  if (command == kCommands.end()) return;
  arguments.bundle = ".";
  while (at < words.size()) {
    // Go's flags end at the first operand, but runc's command lines do not.
    const auto option = option_at(words, at, command->grammar);
    if (!option) {
      if (words[at] != "--") arguments.operands.push_back(words[at]);
      ++at;
      continue;
    }
    if (!option->known) arguments.unknown = words[at];
    take(arguments, *option);
    at += option->words;
  }
}

}  // namespace

Arguments parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  size_t at = 0;
  while (at < words.size()) {
    const auto option = option_at(words, at, kGlobal);
    if (!option) break;
    if (!option->known) return arguments;
    take_global(arguments, *option);
    for (size_t i = at; i < at + option->words; ++i) arguments.global.push_back(words[i]);
    at += option->words;
  }
  if (at < words.size() && words[at] == "--") return arguments;
  if (at < words.size()) {
    arguments.command = words[at];
    parse_command(arguments, words, at + 1);
  }
  return arguments;
}

}  // namespace transship::runtime
