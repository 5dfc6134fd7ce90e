#include "mover/process_files.h"

#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace transship::mover {

namespace fs = std::filesystem;

std::string describe_process(const std::string& proc, int pid) {
  std::ifstream file(proc + "/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return "process " + std::to_string(pid) + (name.empty() ? "" : " (" + name + ")");
}

std::string link_target(const std::string& path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  target.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return target;
}

std::vector<OpenFile> open_files(const std::string& proc, int pid) {
  std::vector<OpenFile> files;
  std::error_code gone;
  for (fs::directory_iterator entry(proc + "/" + std::to_string(pid) + "/fd", gone);
       !gone && entry != fs::directory_iterator(); entry.increment(gone)) {
    std::string target = link_target(entry->path());
    if (!target.empty()) files.push_back({entry->path(), std::move(target)});
  }
  return files;
}

std::set<std::string> mapped_files(const std::string& proc, int pid) {
  std::set<std::string> paths;
  std::ifstream file(proc + "/" + std::to_string(pid) + "/maps");
  // "address perms offset device inode path": of these only the path may have spaces.
  for (std::string line; std::getline(file, line);) {
    std::istringstream in(line);
    std::string field;
    for (int i = 0; i < 5; ++i) in >> field;
    std::string path;
    if (in >> std::ws && std::getline(in, path)) paths.insert(path);
  }
  return paths;
}

std::optional<uint64_t> socket_inode(const std::string& target) {
  constexpr std::string_view kSocket = "socket:[";
  if (!target.starts_with(kSocket)) return std::nullopt;
  return std::strtoull(target.c_str() + kSocket.size(), nullptr, 10);
}

}  // namespace transship::mover
