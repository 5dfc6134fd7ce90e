// The judge: what two trees have that differs, found without any of the engine's own code.
#pragma once

#include <map>
#include <string>

namespace transship::transfer {

// Every entry by its path ("", "a", "a/b") as one line of all that must be equal.
std::map<std::string, std::string> describe_tree(const std::string& directory);

// The same for two trees, as text: "" where they are equal.
std::string differences(const std::string& expected, const std::string& found);

}  // namespace transship::transfer
