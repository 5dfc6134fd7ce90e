#include "hostile_tree.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <vector>

namespace transship::transfer {
namespace {

void require(int result) {
  if (result < 0) {
    std::perror("make a tree");
    std::abort();
  }
}

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

void set_time(const std::string& path, int64_t seconds, int64_t nanoseconds) {
  const timespec times[2] = {{0, UTIME_OMIT}, {seconds, nanoseconds}};
  require(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));
}

void set_xattr(const std::string& path, const std::string& name, const std::string& value) {
  require(::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0));
}

void write_extents(const std::string& path, int64_t size,
                   const std::vector<std::pair<int64_t, std::string>>& extents) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  require(fd);
  require(::ftruncate(fd, size));
  for (const auto& [offset, text] : extents) {
    require(static_cast<int>(::pwrite(fd, text.data(), text.size(), offset)));
  }
  ::close(fd);
}

void make_contents(const std::string& at) {
  require(::mkdir(at.c_str(), 0755));
  for (const size_t size : std::initializer_list<size_t>{
           0, 1, 511, 512, 513, 1023, 1024, 4095, 4096, 4097, 262143, 262144, 262145, 3000000}) {
    std::string content(size, '\0');
    for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + i / 251);
    write_file(at + "/size" + std::to_string(size), content);
  }
  write_extents(at + "/hole only", 5 << 20, {});
  write_extents(at + "/hole at end", 9 << 20, {{0, std::string(5000, 'x')}});
  write_extents(at + "/hole first", 8 << 20, {{(8 << 20) - 3, "end"}});
  write_extents(at + "/holes", 100 << 20, {{1 << 20, "one"}, {50 << 20, std::string(70000, 'y')}});
  write_extents(at + "/odd size", 1234567, {{500000, "odd"}});
  write_extents(at + "/small hole", 1, {});
}

void make_metadata(const std::string& at) {
  require(::mkdir(at.c_str(), 0755));
  for (const mode_t mode :
       std::initializer_list<mode_t>{0000, 0001, 0400, 0644, 0777, 04755, 02755, 01644, 07777}) {
    const std::string file = at + "/mode" + std::to_string(mode);
    write_file(file, "mode");
    require(::chown(file.c_str(), 1000 + mode, 2000 + mode));
    require(::chmod(file.c_str(), mode));
    const std::string directory = at + "/directory" + std::to_string(mode);
    require(::mkdir(directory.c_str(), 0700));
    write_file(directory + "/inside", "inside");
    require(::chown(directory.c_str(), 70000, 3000000));
    require(::chmod(directory.c_str(), mode));
  }
  write_file(at + "/last owner", "");
  require(::chown((at + "/last owner").c_str(), 4294967294U, 4294967294U));
  const std::vector<std::pair<int64_t, int64_t>> times = {{0, 0},          {0, 1},
                                                          {-1, 999999999}, {-1, 0},
                                                          {-2, 500000000}, {-1000000000, 7},
                                                          {1, 100000000},  {4102444800, 123456789},
                                                          {9000000000, 1}, {2147483647, 999999999},
                                                          {2147483648, 0}};
  for (size_t i = 0; i < times.size(); ++i) {
    const std::string file = at + "/time" + std::to_string(i);
    write_file(file, "");
    set_time(file, times[i].first, times[i].second);
  }
  require(::mkdir((at + "/old directory").c_str(), 0755));
  write_file(at + "/old directory/new file", "");
  set_time(at + "/old directory", 86400, 5);
}

void make_kinds(const std::string& at) {
  require(::mkdir(at.c_str(), 0755));
  require(::mkfifo((at + "/fifo").c_str(), 0640));
  require(::mknod((at + "/char").c_str(), S_IFCHR | 0600, makedev(1, 3)));
  require(::mknod((at + "/block").c_str(), S_IFBLK | 0660, makedev(259, 1000000)));
  require(::mknod((at + "/whiteout").c_str(), S_IFCHR, makedev(0, 0)));
  require(::mknod((at + "/socket").c_str(), S_IFSOCK | 0777, 0));
  int number = 0;
  for (const std::string& target :
       {std::string("/etc/passwd"), std::string("../../../.."), std::string("nowhere"),
        std::string(".."), std::string(99, 'l'), std::string(100, 'l'), std::string(101, 'l'),
        std::string(4095, 't'), std::string("caf\xe9\n\xff")}) {
    const std::string link = at + "/link" + std::to_string(number++);
    require(::symlink(target.c_str(), link.c_str()));
    require(::lchown(link.c_str(), 12, 34));
    set_time(link, 1234567890, 987654321);
  }
  require(::symlink("../kinds", (at + "/to directory").c_str()));
  write_file(at + "/original", "linked");
  require(::mkdir((at + "/elsewhere").c_str(), 0755));
  for (const char* name : {"original", "fifo", "char", "socket", "nowhere"}) {
    const std::string from = at + "/" + (std::string(name) == "nowhere" ? "link2" : name);
    require(
        ::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, (at + "/elsewhere/again " + name).c_str(), 0));
  }
  require(::link((at + "/original").c_str(), (at + "/third").c_str()));
}

void make_xattrs(const std::string& at) {
  require(::mkdir(at.c_str(), 0755));
  const std::string file = at + "/file";
  write_file(file, "x");
  set_xattr(file, "user.text", "value");
  set_xattr(file, "user.empty", "");
  set_xattr(file, "user.binary", std::string("\0\n=\xff\x01", 5));
  set_xattr(file, "user.a=b%c%3D", "odd name");
  set_xattr(file, "user.long", std::string(1500, 'v'));
  set_xattr(file, "trusted.mine", "t");
  set_xattr(file, "trusted.overlay.opaque", "y");
  const std::string capability(
      "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
      "\x00\x00\x00\x00",
      20);
  set_xattr(file, "security.capability", capability);
  // Version 2; user::rw- user:1000:r-- group::r-- mask::r-- other::---
  const std::string acl(
      "\x02\x00\x00\x00"
      "\x01\x00\x06\x00\xff\xff\xff\xff"
      "\x02\x00\x04\x00\xe8\x03\x00\x00"
      "\x04\x00\x04\x00\xff\xff\xff\xff"
      "\x10\x00\x04\x00\xff\xff\xff\xff"
      "\x20\x00\x00\x00\xff\xff\xff\xff",
      44);
  write_file(at + "/with acl", "");
  set_xattr(at + "/with acl", "system.posix_acl_access", acl);
  require(::mkdir((at + "/default acl").c_str(), 0755));
  write_file(at + "/default acl/before", "");
  set_xattr(at + "/default acl", "system.posix_acl_default", acl);
  set_xattr(at + "/default acl", "user.of directory", "d");
  require(::symlink("x", (at + "/symlink").c_str()));
  set_xattr(at + "/symlink", "trusted.of symlink", "s");
  require(::mkfifo((at + "/fifo").c_str(), 0600));
  set_xattr(at + "/fifo", "trusted.of fifo", "f");
}

void make_names(const std::string& at) {
  require(::mkdir(at.c_str(), 0755));
  std::string all_bytes;
  for (int c = 1; c < 256; ++c) {
    if (c != '/') all_bytes += static_cast<char>(c);
  }
  for (const std::string& name :
       {std::string("new\nline"), std::string(" "), std::string("-rf"), std::string("..."),
        std::string("\\"), std::string("\"'`$("), std::string("caf\xc3\xa9"),
        std::string("cafe\xcc\x81"), std::string("\xff\xfe"), std::string("\xed\xa0\x80"),
        std::string(255, 'n'), std::string("a"), std::string("a b"), std::string("a\x01"),
        std::string("a.b"), std::string("12 path=evil\n"), all_bytes}) {
    write_file(std::string(at).append("/").append(name), name);
  }
  require(::mkdir((at + "/" + std::string(255, '\xe9')).c_str(), 0755));
  write_file(at + "/" + std::string(255, '\xe9') + "/" + std::string(200, '\x80'), "long");
}

void make_deep(const std::string& at) {
  require(::mkdir(at.c_str(), 0755));
  int fd = ::open(at.c_str(), O_RDONLY | O_DIRECTORY);
  for (int depth = 0; depth < 150; ++depth) {
    const std::string name = std::to_string(depth) + std::string(40, 'd');
    require(::mkdirat(fd, name.c_str(), 0755));
    const int next = ::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY);
    require(next);
    ::close(::openat(fd, "file", O_WRONLY | O_CREAT, 0644));
    ::close(fd);
    fd = next;
  }
  const int file = ::openat(fd, "last", O_WRONLY | O_CREAT, 0644);
  require(static_cast<int>(::write(file, "deep", 4)));
  ::close(file);
  require(::linkat(fd, "last", fd, "linked", 0));
  ::close(fd);
}

}  // namespace

void make_hostile_tree(const std::string& directory, const HostileOptions& options) {
  make_contents(directory + "/contents");
  make_metadata(directory + "/metadata");
  make_kinds(directory + "/kinds");
  make_xattrs(directory + "/xattrs");
  if (options.strange_names) make_names(directory + "/names");
  if (options.deep) make_deep(directory + "/deep");
  require(::chown(directory.c_str(), 55, 66));
  require(::chmod(directory.c_str(), 02751));
  set_xattr(directory, "user.of root", "r");
  set_time(directory, 1600000000, 123456789);
}

void make_random_tree(const std::string& directory, uint32_t seed) {
  std::mt19937 random(seed);
  const auto pick = [&](uint32_t below) { return static_cast<uint32_t>(random() % below); };
  std::vector<std::string> directories = {directory};
  std::vector<std::string> files;
  const uint32_t count = 50 + pick(300);
  for (uint32_t i = 0; i < count; ++i) {
    std::string name = std::to_string(i);
    for (uint32_t k = pick(4) == 0 ? pick(200) : pick(8); k > 0; --k) {
      const char c = static_cast<char>(1 + pick(255));
      if (c != '/') name += c;
    }
    const std::string path =
        directories[pick(static_cast<uint32_t>(directories.size()))] + "/" + name;
    const uint32_t kind = path.size() > 3800 ? 0 : pick(12);
    if (kind < 3) {
      require(::mkdir(path.c_str(), 0755));
      directories.push_back(path);
    } else if (kind == 3) {
      require(::symlink(name.c_str(), path.c_str()));
    } else if (kind == 4) {
      require(::mkfifo(path.c_str(), pick(01000)));
    } else if (kind == 5 && !files.empty()) {
      require(::link(files[pick(static_cast<uint32_t>(files.size()))].c_str(), path.c_str()));
    } else if (kind == 6) {
      write_extents(path, pick(4 << 20), {});
    } else {
      write_file(path, std::string(pick(5) == 0 ? pick(600000) : pick(3000), static_cast<char>(i)));
      if (pick(4) == 0) set_xattr(path, "user." + std::to_string(pick(100)), name);
      require(::chmod(path.c_str(), pick(010000)));
      files.push_back(path);
    }
  }
  for (const std::string& path : directories) require(::chmod(path.c_str(), pick(010000)));
}

}  // namespace transship::transfer
