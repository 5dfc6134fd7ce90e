// Mutex, MutexLock and the GUARDED_BY family: clang's thread-safety analysis over std::mutex, so
// that a field read without its lock is a compile error (preset tidy). Plain std types under other
// compilers. https://clang.llvm.org/docs/ThreadSafetyAnalysis.html
#pragma once

#include <mutex>

#if defined(__clang__)
#define TRANSSHIP_ANNOTATE(x) __attribute__((x))
#else
#define TRANSSHIP_ANNOTATE(x)
#endif
#define GUARDED_BY(x) TRANSSHIP_ANNOTATE(guarded_by(x))
#define REQUIRES(...) TRANSSHIP_ANNOTATE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) TRANSSHIP_ANNOTATE(locks_excluded(__VA_ARGS__))

namespace transship {

class TRANSSHIP_ANNOTATE(capability("mutex")) Mutex {
 public:
  void lock() TRANSSHIP_ANNOTATE(acquire_capability()) { mutex_.lock(); }
  void unlock() TRANSSHIP_ANNOTATE(release_capability()) { mutex_.unlock(); }
  bool try_lock() TRANSSHIP_ANNOTATE(try_acquire_capability(true)) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

// Holds a Mutex for a scope; BasicLockable, so std::condition_variable_any waits on it.
class TRANSSHIP_ANNOTATE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) TRANSSHIP_ANNOTATE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() TRANSSHIP_ANNOTATE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // For std::condition_variable_any only, which unlocks and locks again around its wait.
  void lock() TRANSSHIP_ANNOTATE(no_thread_safety_analysis) { mutex_.lock(); }
  void unlock() TRANSSHIP_ANNOTATE(no_thread_safety_analysis) { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace transship
