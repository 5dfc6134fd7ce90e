#include "mover/shared_counters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <new>

namespace transship::mover {
namespace {

using transfer::Progress;

static_assert(std::atomic<int64_t>::is_always_lock_free, "it is shared between processes");

Result<std::shared_ptr<Progress[]>> mapped(int memory, size_t volumes) {
  const size_t size = volumes * sizeof(Progress);
  void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (at == MAP_FAILED) return errno_error("map the counters", errno);
  return std::shared_ptr<Progress[]>(static_cast<Progress*>(at),
                                     [size](Progress* all) { ::munmap(all, size); });
}

}  // namespace

Result<SharedCounters> SharedCounters::make(size_t volumes) {
  SharedCounters counters;
  if (volumes == 0) return counters;
  counters.memory_.reset(::memfd_create("counters", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const auto size = static_cast<off_t>(volumes * sizeof(Progress));
  // Sealed: nobody can take the memory away under the other end.
  if (!counters.memory_.valid() || ::ftruncate(counters.memory_.get(), size) != 0 ||
      ::fcntl(counters.memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return errno_error("make the counters", errno);
  auto all = mapped(counters.memory_.get(), volumes);
  if (!all) return all.error();
  counters.all_ = std::move(all).value();
  for (size_t i = 0; i < volumes; ++i) ::new (counters.all_.get() + i) Progress();
  return counters;
}

Result<SharedCounters> SharedCounters::map(UniqueFd memory, size_t volumes) {
  struct stat status {};
  if (::fstat(memory.get(), &status) != 0) return errno_error("map the counters", errno);
  if (volumes == 0 || static_cast<size_t>(status.st_size) != volumes * sizeof(Progress))
    return Error{ErrorCode::kCorrupt, "the counters are of other volumes"};
  auto all = mapped(memory.get(), volumes);
  if (!all) return all.error();
  SharedCounters counters;
  counters.memory_ = std::move(memory);
  counters.all_ = std::move(all).value();
  return counters;
}

Counters SharedCounters::at(size_t volume) const { return {all_, all_.get() + volume}; }

}  // namespace transship::mover
