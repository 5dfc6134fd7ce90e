#include "runtime/install/checkpoint_programs.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>

#include "runtime/install/command.h"

namespace transship::runtime {
namespace {

constexpr std::chrono::seconds kDeadline(60);

std::pair<int, int> major_minor(const std::string& version) {
  int major = 0;
  int minor = 0;
  std::sscanf(version.c_str(), "%d.%d", &major, &minor);
  return {major, minor};
}

}  // namespace

std::string version_in(const std::string& text) {
  constexpr const char* kDigits = "0123456789";
  for (size_t at = text.find_first_of(kDigits); at != std::string::npos;
       at = text.find_first_of(kDigits, at)) {
    size_t end = text.find_first_not_of("0123456789.", at);
    end = std::min(end, text.size());
    std::string number = text.substr(at, end - at);
    while (number.ends_with('.')) number.pop_back();
    if (number.find('.') != std::string::npos) return number;
    at = end;
  }
  return "";
}

Status check_criu_for_kernel(const std::string& criu_version, const std::string& kernel_release) {
  if (major_minor(kernel_release) < std::pair(6, 16) ||
      major_minor(criu_version) >= std::pair(4, 2)) {
    return {};
  }
  return Error{ErrorCode::kPreconditionFailed,
               "CRIU " + criu_version + " cannot dump sockets on Linux " + kernel_release +
                   ": install CRIU 4.2 or newer on the node"};
}

Result<CheckpointPrograms> check_programs(const std::string& runc, const std::string& path) {
  CheckpointPrograms programs;
  auto found = find_program(runc, path);
  if (!found) return found.error();
  programs.runc = *found;
  auto criu = find_program("criu", path);
  if (!criu) return criu.error().during("install CRIU 4.2 or newer on the node");
  programs.criu = *criu;
  auto said = output_of({programs.runc, "--version"}, path, kDeadline);
  if (!said) return said.error();
  programs.runc_version = version_in(*said);
  said = output_of({programs.criu, "--version"}, path, kDeadline);
  if (!said) return said.error();
  programs.criu_version = version_in(*said);
  utsname kernel{};
  if (::uname(&kernel) != 0) return errno_error("ask for the kernel's release", errno);
  TRANSSHIP_TRY(check_criu_for_kernel(programs.criu_version, kernel.release));
  said = output_of({programs.criu, "check"}, path, kDeadline);
  if (!said) return said.error().during("the kernel lacks what CRIU needs");
  return programs;
}

}  // namespace transship::runtime
