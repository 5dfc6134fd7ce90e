#include "arena.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace transship::transfer {

namespace fs = std::filesystem;

Arena::Arena() {
  path_ = std::string(fs::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") +
          "/transship-fuzz-XX"
          "XX"
          "XX";
  if (::mkdtemp(path_.data()) == nullptr) ::abort();
  fs::create_directories(path_ + "/outside/d");
  std::ofstream(path_ + "/outside/file") << "safe";
  before_ = around();
}

Arena::~Arena() { fs::remove_all(path_); }

UniqueFd Arena::open() {
  fs::remove_all(path_ + "/to");
  fs::create_directory(path_ + "/to");
  return UniqueFd(::open((path_ + "/to").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

std::string Arena::around() const {
  std::ostringstream text;
  for (const fs::path name : {"/outside", "/outside/d", "/outside/file"}) {
    struct stat stat {};
    ::lstat((path_ + name.string()).c_str(), &stat);
    text << name << ' ' << stat.st_mode << ' ' << stat.st_uid << ' ' << stat.st_nlink << ' '
         << stat.st_size << ' ' << stat.st_ctim.tv_sec << '.' << stat.st_ctim.tv_nsec << '\n';
  }
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (entry.path().filename() != "to" && entry.path().filename() != "outside") text << entry;
  }
  return text.str();
}

void Arena::check() const {
  if (around() == before_) return;
  std::fprintf(stderr, "outside of the directory something is another now:\n%s", around().c_str());
  ::abort();
}

}  // namespace transship::transfer
