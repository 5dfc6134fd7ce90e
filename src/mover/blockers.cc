#include "mover/blockers.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "mover/process_files.h"
#include "mover/unix_peers.h"

namespace transship::mover {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGhostLimit = int64_t{1} << 30;  // what the dump tells CRIU (memory_dump.cc)
constexpr std::string_view kDeleted = " (deleted)";
constexpr size_t kMost = 20;  // that are told

std::string who(const std::string& proc, const InspectedContainer& container, int pid) {
  return "container " + container.name + ": " + describe_process(proc, pid);
}

// Calls `look` for each file that any process of the container has open.
template <typename Look>
Blockers each_open_file(const std::string& proc, const InspectedContainer& container, Look look) {
  Blockers found;
  for (const int pid : container.pids) {
    for (const OpenFile& file : open_files(proc, pid)) {
      std::string why = look(file);
      if (!why.empty()) found.push_back(who(proc, container, pid) + " " + why);
    }
  }
  return found;
}

std::string status_field(const std::string& path, const std::string& field) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(field + ":")) continue;
    const size_t value = line.find_first_not_of(" \t", field.size() + 1);
    return value == line.npos ? "" : line.substr(value);
  }
  return {};
}

std::string protocol_of(const std::string& socket) {
  std::array<char, 64> name{};
  const ssize_t length =
      ::getxattr(socket.c_str(), "system.sockprotoname", name.data(), name.size() - 1);
  return length > 0 ? std::string(name.data()) : "";
}

bool is_plain_device(dev_t device) {
  const unsigned number = minor(device);
  switch (major(device)) {
    case 1:  // mem: null, zero, full, random, urandom
      return number == 3 || number == 5 || number == 7 || number == 8 || number == 9;
    case 5:  // tty, console, ptmx
      return number <= 2;
    default:
      return major(device) >= 136 && major(device) <= 143;  // pts
  }
}

// A name with " (deleted)" at its end may be just that.
bool is_there(const std::string& proc, int pid, const std::string& target,
              const struct stat& open) {
  struct stat named {};
  const std::string path = proc + "/" + std::to_string(pid) + "/root" + target;
  return ::lstat(path.c_str(), &named) == 0 && named.st_ino == open.st_ino &&
         named.st_dev == open.st_dev;
}

// kubelet's directories of what it writes as a whole: "..2026_11_23_09_15_42.123".
bool is_of_atomic_writer(const std::string& path) {
  if (!path.starts_with("/")) return false;
  for (size_t at = path.find("/.."); at != path.npos; at = path.find("/..", at + 1)) {
    const std::string year = path.substr(at + 3, 5);
    if (year.size() == 5 && year.find_first_not_of("0123456789") == 4 && year[4] == '_')
      return true;
  }
  return false;
}

std::string deleted_file(const std::string& target, const struct stat& status) {
  // CRIU would give it a name for the restore (link-remap), and takes that away again at the end of
  // a dump that leaves the processes where they are: it would be in no tree that goes along.
  if (status.st_nlink > 0 && !S_ISDIR(status.st_mode)) {
    return "has " + target +
           " open, which has another name still: have it closed, or that name "
           "removed";
  }
  if (status.st_nlink == 0 && static_cast<int64_t>(status.st_blocks) * 512 > kGhostLimit) {
    return "has " + target + " open, of more than 1 GiB: have it closed";
  }
  return {};
}

}  // namespace

Blockers stopped_processes(const std::string& proc, const InspectedContainer& container) {
  Blockers found;
  for (const int pid : container.pids) {
    const std::string status = proc + "/" + std::to_string(pid) + "/status";
    const std::string tracer = status_field(status, "TracerPid");
    if (!tracer.empty() && tracer != "0") {
      found.push_back(who(proc, container, pid) + " is traced (by process " + tracer +
                      "): have the debugger or strace end");
    } else if (status_field(status, "State").starts_with("T")) {
      found.push_back(who(proc, container, pid) +
                      " is stopped (SIGSTOP): have it go on (SIGCONT), or end");
    }
  }
  return found;
}

Blockers foreign_user_namespaces(const std::string& proc, const InspectedContainer& container) {
  Blockers found;
  const auto space = [&](int pid) {
    return link_target(proc + "/" + std::to_string(pid) + "/ns/user");
  };
  const std::string own = space(container.init);
  for (const int pid : container.pids) {
    const std::string other = space(pid);
    if (other.empty() || own.empty() || other == own) continue;
    found.push_back(who(proc, container, pid) +
                    " is in a user namespace of its own: have it end, or run it without (a "
                    "browser's or a builder's sandbox)");
  }
  return found;
}

Blockers io_uring(const std::string& proc, const InspectedContainer& container) {
  constexpr std::string_view kRing = "anon_inode:[io_uring]";
  Blockers found;
  for (const int pid : container.pids) {
    const auto files = open_files(proc, pid);
    const bool open = std::any_of(files.begin(), files.end(),
                                  [&](const OpenFile& file) { return file.target == kRing; });
    if (!open && !mapped_files(proc, pid).contains(std::string(kRing))) continue;
    found.push_back(who(proc, container, pid) +
                    " uses io_uring: set seccompProfile RuntimeDefault, which keeps it from that "
                    "(Node.js then does without)");
  }
  return found;
}

Blockers sockets_of_other_kinds(const std::string& proc, const InspectedContainer& container) {
  return each_open_file(proc, container, [](const OpenFile& file) -> std::string {
    if (!socket_inode(file.target)) return {};
    const std::string protocol = protocol_of(file.at);
    if (protocol.starts_with("MPTCP")) {
      return "has an MPTCP socket: set GODEBUG=multipathtcp=0 in its environment (Go listens so "
             "since 1.24)";
    }
    if (protocol == "AF_VSOCK") return "has a vsock socket: have it closed";
    return {};
  });
}

Blockers devices(const std::string& proc, const InspectedContainer& container) {
  Blockers found = each_open_file(proc, container, [](const OpenFile& file) -> std::string {
    struct stat status {};
    if (::stat(file.at.c_str(), &status) != 0) return {};
    const bool plain = S_ISCHR(status.st_mode) && is_plain_device(status.st_rdev);
    if (plain || !(S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))) return {};
    return "has the device " + file.target + " open: what a device does cannot be moved";
  });
  for (const int pid : container.pids) {
    for (const std::string& path : mapped_files(proc, pid)) {
      if (!path.starts_with("/dev/") || path.starts_with("/dev/shm/") ||
          path.starts_with("/dev/zero"))
        continue;
      found.push_back(who(proc, container, pid) + " has the device " + path +
                      " mapped: what a device does cannot be moved");
    }
  }
  return found;
}

Blockers deleted_files(const std::string& proc, const InspectedContainer& container) {
  Blockers found;
  for (const int pid : container.pids) {
    for (const OpenFile& file : open_files(proc, pid)) {
      struct stat status {};
      if (!file.target.starts_with("/") || file.target.starts_with("/memfd:") ||
          !file.target.ends_with(kDeleted) || ::stat(file.at.c_str(), &status) != 0 ||
          is_there(proc, pid, file.target, status))
        continue;
      const std::string why = deleted_file(file.target, status);
      if (!why.empty()) found.push_back(who(proc, container, pid) + " " + why);
    }
  }
  return found;
}

Blockers configuration_files(const std::string& proc, const InspectedContainer& container) {
  Blockers found;
  for (const int pid : container.pids) {
    std::set<std::string> paths = mapped_files(proc, pid);
    for (const OpenFile& file : open_files(proc, pid)) paths.insert(file.target);
    for (const std::string& path : paths) {
      if (!is_of_atomic_writer(path)) continue;
      found.push_back(who(proc, container, pid) + " has " + path +
                      " open, of a configMap, secret or token, which the new pod has under another "
                      "name: have it read and closed");
    }
  }
  return found;
}

// "sl local_address rem_address st …": listening is 0A, an address of zeros is any one, the
// loopback ones are the pod's wherever it is.
Blockers listeners_on_own_address(const std::string& proc, const InspectedContainer& container) {
  constexpr std::string_view kLoopback4 = "0100007F";
  constexpr std::string_view kLoopback6 = "00000000000000000000000001000000";
  std::map<uint64_t, std::string> listening;
  for (const char* table : {"tcp", "tcp6"}) {
    std::ifstream file(proc + "/" + std::to_string(container.init) + "/net/" + table);
    for (std::string line; std::getline(file, line);) {
      std::istringstream in(line);
      std::vector<std::string> fields;
      for (std::string field; in >> field;) fields.push_back(field);
      if (fields.size() < 10 || fields[3] != "0A") continue;
      const std::string address = fields[1].substr(0, fields[1].find(':'));
      const bool any = address.find_first_not_of('0') == address.npos;
      // 127.0.0.0/8 is written with its first byte last.
      const bool loopback =
          address == kLoopback6 || (address.size() == kLoopback4.size() && address.ends_with("7F"));
      if (any || loopback) continue;
      const size_t port = fields[1].find(':');
      listening[std::strtoull(fields[9].c_str(), nullptr, 10)] =
          std::to_string(std::stoi(fields[1].substr(port + 1), nullptr, 16));
    }
  }
  return each_open_file(proc, container, [&](const OpenFile& file) -> std::string {
    const auto inode = socket_inode(file.target);
    const auto found = inode ? listening.find(*inode) : listening.end();
    if (found == listening.end()) return {};
    return "listens on port " + found->second +
           " of the pod's own address, which the pod does not keep: have it listen on 0.0.0.0 or "
           "::";
  });
}

Blockers message_queues(const std::string& proc, const InspectedContainer& container) {
  std::error_code gone;
  const fs::directory_iterator queues(
      proc + "/" + std::to_string(container.init) + "/root/dev/mqueue", gone);
  if (gone || queues == fs::directory_iterator()) return {};
  return {"the pod has the POSIX message queue /" + queues->path().filename().string() +
          ": have it removed (mq_unlink)"};
}

Result<Blockers> unix_streams(const std::string& proc,
                              const std::vector<InspectedContainer>& containers) {
  struct Owner {
    size_t container = 0;
    int pid = 0;
  };
  std::map<uint64_t, Owner> owners;
  for (size_t i = 0; i < containers.size(); ++i) {
    for (const int pid : containers[i].pids) {
      for (const OpenFile& file : open_files(proc, pid)) {
        if (const auto inode = socket_inode(file.target)) owners[*inode] = {i, pid};
      }
    }
  }
  Blockers found;
  if (owners.empty()) return found;
  auto peers = unix_peers(proc + "/" + std::to_string(containers.front().init));
  if (!peers) return peers.error();
  for (const auto& [socket, peer] : *peers) {
    const auto one = owners.find(socket);
    const auto other = owners.find(peer);
    if (one == owners.end()) continue;
    const bool within = other != owners.end() && other->second.container == one->second.container;
    // Each pair is told once.
    if (within || (other != owners.end() && peer < socket)) continue;
    found.push_back(who(proc, containers[one->second.container], one->second.pid) +
                    " is connected by a unix socket to " +
                    (other == owners.end()
                         ? "a process that is in none of these containers"
                         : who(proc, containers[other->second.container], other->second.pid)) +
                    ": such a connection cannot be moved; have it closed, or use TCP on localhost");
  }
  return found;
}

Status check_blockers(const std::string& proc, const std::vector<InspectedContainer>& containers) {
  Blockers all;
  const auto add = [&all](Blockers found) {
    std::move(found.begin(), found.end(), std::back_inserter(all));
  };
  for (const InspectedContainer& container : containers) {
    for (const auto look :
         {stopped_processes, foreign_user_namespaces, io_uring, sockets_of_other_kinds, devices,
          deleted_files, configuration_files, listeners_on_own_address})
      add(look(proc, container));
  }
  if (!containers.empty()) add(message_queues(proc, containers.front()));
  auto streams = unix_streams(proc, containers);
  if (!streams) return streams.error();
  add(std::move(streams).value());
  if (all.empty()) return {};
  std::string message = "the pod's memory cannot be moved as it is";
  for (size_t i = 0; i < std::min(all.size(), kMost); ++i) message += "; " + all[i];
  if (all.size() > kMost) message += "; and " + std::to_string(all.size() - kMost) + " more";
  return Error{ErrorCode::kPreconditionFailed, message};
}

}  // namespace transship::mover
