#include "scratch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace transship::transfer {
namespace {

std::string file_content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  content << in.rdbuf();
  return content.str();
}

}  // namespace

Scratch::Scratch() {
  const char* root = std::getenv("TMPDIR");
  path_ = std::string(root != nullptr ? root : "/tmp") +
          "/transship-test-XX"
          "XX"
          "XX";
  if (::mkdtemp(path_.data()) == nullptr) std::abort();
}

Scratch::~Scratch() {
  if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  shell("/", "chmod -R u+rwx '" + path_ + "' 2>/dev/null; rm -rf '" + path_ + "'");
}

bool Scratch::mount_tmpfs(const std::string& options) {
  mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, options.c_str()) == 0;
  return mounted_;
}

UniqueFd Scratch::open() const {
  return UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

UniqueFd Scratch::open(const std::string& name) const {
  ::mkdir(path(name).c_str(), 0755);
  return UniqueFd(::open(path(name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

void Scratch::write(const std::string& name, const std::string& content) const {
  std::ofstream(path(name), std::ios::binary) << content;
}

ShellResult shell(const std::string& directory, const std::string& command) {
  char out[] =
      "/tmp/transship-shell-XX"
      "XX"
      "XX";
  char err[] =
      "/tmp/transship-shell-XX"
      "XX"
      "XX";
  ::close(::mkstemp(out));
  ::close(::mkstemp(err));
  const pid_t child = ::fork();
  if (child == 0) {
    const bool ready = ::chdir(directory.c_str()) == 0 &&
                       std::freopen(out, "w", stdout) != nullptr &&
                       std::freopen(err, "w", stderr) != nullptr;
    if (ready) ::execl("/bin/bash", "bash", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ShellResult result{WIFEXITED(status) ? WEXITSTATUS(status) : 128, file_content(out),
                     file_content(err)};
  ::unlink(out);
  ::unlink(err);
  return result;
}

std::string recipe_digest(const std::string& volume) {
  const ShellResult result =
      shell(volume,
            R"({ find . -printf '%p %y %m %U:%G %T@ %l\0' | LC_ALL=C sort -z; )"
            R"(find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z; } | sha256sum)");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.errors, "");
  return "sha256:" + result.output.substr(0, 64);
}

}  // namespace transship::transfer
