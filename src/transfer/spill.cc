#include "transfer/spill.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <filesystem>
#include <new>
#include <utility>

#include "base/log.h"

namespace transship::transfer {
namespace {

constexpr size_t kUnit = 16;   // all sizes are multiples of it
constexpr size_t kFine = 128;  // up to here every multiple is a class; then four in an octave
constexpr size_t kLargest = size_t{256} << 10U;  // of a class; beyond it each has its own mapping
constexpr size_t kSlab = size_t{4} << 20U;

constexpr size_t octave_of(size_t bytes) { return static_cast<size_t>(std::bit_width(bytes - 1)); }

constexpr size_t class_of(size_t bytes) {
  if (bytes <= kFine) return bytes <= kUnit ? 0 : (bytes - 1) / kUnit;
  const size_t octave = octave_of(bytes);
  const size_t base = size_t{1} << (octave - 1);
  return kFine / kUnit + (octave - std::bit_width(kFine)) * 4 + (bytes - 1 - base) / (base / 4);
}

constexpr size_t size_of(size_t number) {
  if (number < kFine / kUnit) return (number + 1) * kUnit;
  const size_t beyond = number - kFine / kUnit;
  const size_t base = kFine << (beyond / 4);
  return base + (beyond % 4 + 1) * (base / 4);
}

static_assert(class_of(kLargest) == 51 && size_of(51) == kLargest);
static_assert(class_of(129) == 8 && size_of(8) == 160 && class_of(160) == 8 && class_of(161) == 9);

size_t whole_pages(size_t bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

Result<UniqueFd> open_temporary(const std::string& path) {
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_error("open the directory for spilling " + path, errno);
  return directory;
}

// Gone with its last user, however that one ends.
UniqueFd make_nameless(int directory) {
  UniqueFd file(::openat(directory, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600));
  if (file.valid() || (errno != EOPNOTSUPP && errno != EISDIR)) return file;
  const std::string name = ".transship-spill-" + std::to_string(::getpid());
  file = UniqueFd(
      ::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.valid()) ::unlinkat(directory, name.c_str(), 0);
  return file;
}

// Btrfs would otherwise need new space for each page that is written a second time. Others have no
// such flag, and no need.
void write_in_place(int file) {
  int flags = 0;
  if (::ioctl(file, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  (void)::ioctl(file, FS_IOC_SETFLAGS, &flags);
}

}  // namespace

Spill& Spill::of_process() {
  static auto* const spill = new Spill;  // never destroyed: others are, later
  return *spill;
}

void Spill::configure(SpillOptions options) {
  const MutexLock lock(mutex_);
  options_ = std::move(options);
}

void* Spill::take(size_t bytes) {
  const MutexLock lock(mutex_);
  taken_ += bytes;
  if (bytes > kLargest) return map(whole_pages(bytes));
  const size_t number = class_of(bytes);
  Free*& first = free_.at(number);
  if (first == nullptr) return carve(size_of(number));
  return std::exchange(first, first->next);
}

void Spill::give_back(void* memory, size_t bytes) noexcept {
  const MutexLock lock(mutex_);
  taken_ -= bytes;
  if (bytes > kLargest) {
    unmap(memory);
  } else {
    Free*& first = free_.at(class_of(bytes));
    first = new (memory) Free{first};
  }
  if (taken_ == 0) give_all_back();
}

void* Spill::carve(size_t bytes) {
  if (slab_left_ < bytes) {
    scrap();
    slab_ = static_cast<char*>(map(kSlab));
    slab_left_ = kSlab;
  }
  void* const memory = slab_;
  slab_ += bytes;
  slab_left_ -= bytes;
  return memory;
}

// What is left of a slab serves for smaller ones.
void Spill::scrap() {
  while (slab_left_ >= kUnit) {
    size_t number = class_of(slab_left_);
    if (size_of(number) > slab_left_) --number;
    free_.at(number) = new (slab_) Free{free_.at(number)};
    slab_ += size_of(number);
    slab_left_ -= size_of(number);
  }
}

void* Spill::map(size_t bytes) {
  if (use_.in_memory + bytes <= options_.bound) return map_memory(bytes);
  auto memory = map_file(bytes);
  if (memory) return *memory;
  if (failed_.ok()) failed_ = memory.error();
  has_failed_ = true;
  return map_memory(bytes);
}

void* Spill::map_memory(size_t bytes) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mappings_[memory] = {bytes, -1};
  use_.in_memory += bytes;
  return memory;
}

// Space is promised before it is used: a page that finds none when it is written out, or touched,
// is the process's end (SIGBUS).
Result<void*> Spill::map_file(size_t bytes) {
  TRANSSHIP_TRY(open_file());
  const auto length = static_cast<off_t>(bytes);
  int error = 0;
  do {
    error = ::fallocate(file_.get(), 0, end_, length) == 0 ? 0 : errno;
  } while (error == EINTR);
  if (error != 0) return not_more("take space in ", error);
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), end_);
  if (memory == MAP_FAILED) return not_more("map a file in ", errno);
  mappings_[memory] = {bytes, end_};
  end_ += length;
  use_.in_file += bytes;
  return memory;
}

Error Spill::not_more(const char* tried, int error) const {
  Error failed = errno_error(tried + options_.name, error);
  failed.message += ": what is known of the volumes takes more than " +
                    std::to_string(options_.bound) + " bytes of memory, and " +
                    std::to_string(use_.in_file) +
                    " more are in a file there: free some space, or allow more memory";
  return failed;
}

Result<UniqueFd> Spill::new_file() {
  if (!options_.directory) {
    std::error_code ignored;
    options_.name = std::filesystem::temp_directory_path(ignored).string();
    options_.directory = [path = options_.name] { return open_temporary(path); };
  }
  auto directory = options_.directory();
  if (!directory) return directory.error();
  UniqueFd file = make_nameless(directory->get());
  if (!file.valid()) return errno_error("make a file in " + options_.name, errno);
  write_in_place(file.get());
  return file;
}

Result<SpillFile> Spill::make_file() {
  const MutexLock lock(mutex_);
  auto file = new_file();
  if (!file) return file.error();
  return SpillFile{std::move(file).value(), options_.bound, options_.name};
}

Status Spill::open_file() {
  if (file_.valid()) return {};
  if (options_.file >= 0) {
    file_.reset(::fcntl(options_.file, F_DUPFD_CLOEXEC, 0));
    if (!file_.valid()) return errno_error("open the file in " + options_.name, errno);
  } else {
    auto file = new_file();
    if (!file) return file.error();
    file_ = std::move(file).value();
  }
  end_ = 0;
  log::debug("what is known of the volumes goes on in a file", {{"directory", options_.name}});
  return {};
}

void Spill::unmap(void* memory) {
  const auto found = mappings_.find(memory);
  const Mapping mapping = found->second;
  mappings_.erase(found);
  ::munmap(memory, mapping.bytes);
  if (mapping.offset < 0) {
    use_.in_memory -= mapping.bytes;
    return;
  }
  use_.in_file -= mapping.bytes;
  // Where it cannot be, the space comes back with the file's end.
  (void)::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, mapping.offset,
                    static_cast<off_t>(mapping.bytes));
}

void Spill::give_all_back() {
  for (const auto& [memory, mapping] : mappings_) ::munmap(memory, mapping.bytes);
  mappings_.clear();
  free_ = {};
  slab_ = nullptr;
  slab_left_ = 0;
  use_ = {};
  // One that is given is there for the next, too, but not what was in it.
  if (file_.valid() && options_.file >= 0) (void)::ftruncate(file_.get(), 0);
  file_.reset();
  failed_ = {};
  has_failed_ = false;
}

Status Spill::check() {
  if (!has_failed_) return {};
  const MutexLock lock(mutex_);
  return failed_;
}

SpillUse Spill::use() {
  const MutexLock lock(mutex_);
  return use_;
}

}  // namespace transship::transfer
