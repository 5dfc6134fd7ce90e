// Spill: the memory that a session's inventories live in. Beyond a bound more of it is a file that
// has no name, mapped: the kernel can write its pages out where memory is short (docs/adr/0012).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::transfer {

struct SpillOptions {
  static constexpr size_t kBound = size_t{512} << 20U;  // some 3.5 million files

  size_t bound = kBound;  // bytes of ordinary memory
  // The directory of the file; asked for where the bound is reached. Null: the system's temporary
  // directory.
  std::function<Result<UniqueFd>()> directory{};
  std::string name{};  // its, for messages
  int file = -1;       // where the file is there already: it, open, as SpillFile has it
};

// A file that somebody else's inventories may go to: one for a process that sees no directory.
struct SpillFile {
  UniqueFd file;
  size_t bound = 0;
  std::string name;  // of its directory
};

struct SpillUse {
  size_t in_memory = 0;  // bytes
  size_t in_file = 0;
};

// By any thread. One for a process: so is the memory that it may take.
class Spill {
 public:
  static Spill& of_process();

  // For what is taken from now on.
  void configure(SpillOptions options) EXCLUDES(mutex_);

  // A new file in the directory as configured, for another process's configure().
  Result<SpillFile> make_file() EXCLUDES(mutex_);

  // Always memory, of 16 bytes' alignment: where the file cannot have more, ordinary one beyond the
  // bound. Whoever goes on taking looks at check() between two steps of bounded size.
  [[nodiscard]] void* take(size_t bytes) EXCLUDES(mutex_);
  void give_back(void* memory, size_t bytes) noexcept EXCLUDES(mutex_);

  // kNoSpace and the like: the file could not have more. So until all is given back.
  [[nodiscard]] Status check() EXCLUDES(mutex_);

  [[nodiscard]] SpillUse use() EXCLUDES(mutex_);

 private:
  static constexpr size_t kClasses = 52;
  struct Free {
    Free* next = nullptr;
  };
  struct Mapping {
    size_t bytes = 0;
    int64_t offset = -1;  // in the file; -1: ordinary memory
  };

  void* carve(size_t bytes) REQUIRES(mutex_);
  void scrap() REQUIRES(mutex_);
  void* map(size_t bytes) REQUIRES(mutex_);
  void* map_memory(size_t bytes) REQUIRES(mutex_);
  Result<void*> map_file(size_t bytes) REQUIRES(mutex_);
  [[nodiscard]] Error not_more(const char* tried, int error) const REQUIRES(mutex_);
  Status open_file() REQUIRES(mutex_);
  Result<UniqueFd> new_file() REQUIRES(mutex_);
  void unmap(void* memory) REQUIRES(mutex_);
  void give_all_back() REQUIRES(mutex_);

  Mutex mutex_;
  SpillOptions options_ GUARDED_BY(mutex_);
  UniqueFd file_ GUARDED_BY(mutex_);
  int64_t end_ GUARDED_BY(mutex_) = 0;   // of the file
  SpillUse use_ GUARDED_BY(mutex_);      // as mapped
  size_t taken_ GUARDED_BY(mutex_) = 0;  // bytes that somebody has
  std::array<Free*, kClasses> free_ GUARDED_BY(mutex_){};
  char* slab_ GUARDED_BY(mutex_) = nullptr;  // what is left of it
  size_t slab_left_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<void*, Mapping> mappings_ GUARDED_BY(mutex_);
  Status failed_ GUARDED_BY(mutex_);
  std::atomic<bool> has_failed_ = false;
};

// What is made by new, in it.
struct Spilled {
  static void* operator new(size_t bytes) { return Spill::of_process().take(bytes); }
  static void operator delete(void* memory, size_t bytes) {
    Spill::of_process().give_back(memory, bytes);
  }
};

template <typename T>
struct SpillAllocator {
  using value_type = T;
  SpillAllocator() = default;
  template <typename Other>
  SpillAllocator(const SpillAllocator<Other>& /*all are one*/) {}  // NOLINT: as an allocator must
  T* allocate(size_t count) {
    static_assert(alignof(T) <= 16);
    if (count > SIZE_MAX / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(Spill::of_process().take(count * sizeof(T)));
  }
  void deallocate(T* memory, size_t count) noexcept {
    Spill::of_process().give_back(memory, count * sizeof(T));
  }
  bool operator==(const SpillAllocator& /*other*/) const { return true; }
};

template <typename T>
using SpillVector = std::vector<T, SpillAllocator<T>>;
using SpillString = std::basic_string<char, std::char_traits<char>, SpillAllocator<char>>;
template <typename Key, typename Value>
using SpillMap = std::unordered_map<Key, Value, std::hash<Key>, std::equal_to<Key>,
                                    SpillAllocator<std::pair<const Key, Value>>>;
template <typename Key>
using SpillSet = std::unordered_set<Key, std::hash<Key>, std::equal_to<Key>, SpillAllocator<Key>>;

}  // namespace transship::transfer
