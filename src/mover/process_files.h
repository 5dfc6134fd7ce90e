// ProcessFiles: what a process has open and mapped, as /proc shows it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace transship::mover {

// The file name of /proc/PID/comm in parentheses, for messages: "process 12 (node)".
std::string describe_process(const std::string& proc, int pid);

// Where a link in /proc leads, "/path (deleted)" or "anon_inode:[io_uring]"; empty: nowhere any
// more.
std::string link_target(const std::string& path);

struct OpenFile {
  std::string at;      // "/proc/12/fd/3"
  std::string target;  // link_target of it
};
// Empty where the process is gone.
std::vector<OpenFile> open_files(const std::string& proc, int pid);

// The paths of what is mapped, each once.
std::set<std::string> mapped_files(const std::string& proc, int pid);

// The inode of "socket:[123]"; nullopt for anything else.
std::optional<uint64_t> socket_inode(const std::string& target);

}  // namespace transship::mover
