// The inode flags that users set (chattr(1), ioctl_iflags(2)) and project ids (XFS, ext4): which
// are carried, reading and setting them.
//
// Carried are those below. The others say how a file system keeps a file (compression, copy on
// write, journal, extents, DAX, encryption, verity, casefold) and are its own business.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace transship::transfer {

struct InodeAttributes {
  enum Flag : uint8_t {
    kImmutable = 1,
    kAppendOnly = 2,
    kNoDump = 4,
    kNoAtime = 8,
    kSync = 16,
    kDirSync = 32,         // directories only
    kProjectInherit = 64,  // directories only: what is made in them gets their project id
  };
  static constexpr uint8_t kAll = 127;
  static constexpr uint8_t kDirectoriesOnly = kDirSync | kProjectInherit;
  // These forbid changes of the inode, and of the names in a directory: they are set when all else
  // is right, and have to be taken off before anything is changed.
  static constexpr uint8_t kLocking = kImmutable | kAppendOnly;

  // Links, FIFOs, devices and sockets have others only because their directory had them.
  static constexpr unsigned carried(bool directory, bool regular) {
    return directory ? kAll : regular ? kAll & ~unsigned{kDirectoriesOnly} : kLocking;
  }

  uint8_t flags = 0;
  uint32_t project = 0;
  bool operator==(const InodeAttributes&) const = default;
  [[nodiscard]] bool any() const { return flags != 0 || project != 0; }
};

// An open file or directory; or a symbolic link, FIFO, device or socket by its `name` in the open
// directory `fd`. Of the latter only kLocking and project ids are carried; Linux before 6.17 does
// not show their ids and can set neither.
struct AttributePlace {
  int fd = -1;
  std::string name{};      // empty: `fd` itself
  bool directory = false;  // what is meant is a directory
  bool projects = true;    // false: project ids are not carried, neither read nor set
};

// False: errno says why not. A file system that has neither flags nor ids is no failure: none.
bool read_attributes(const AttributePlace& place, InodeAttributes& found);

// What could not be set, and why.
struct AttributeFailure {
  std::string what;  // "the flag immutable"
  int error = 0;
  std::string remedy;
};

// Sets exactly these, whatever was there; nothing is written where that is so already.
std::optional<AttributeFailure> set_attributes(const AttributePlace& place,
                                               const InodeAttributes& wanted);

// Takes all carried flags off; the project id stays. False: errno says why not.
bool clear_flags(const AttributePlace& place);

// libarchive's names, in its order, with commas: "sappnd,schg"; "" for none.
std::string flag_names(uint8_t flags);
// nullopt where flag_names would not write it so.
std::optional<uint8_t> parse_flag_names(std::string_view text);

}  // namespace transship::transfer
