// Sha256Aside: a SHA-256 that may be worked on by a thread of its own, while the caller reads what
// comes next: of a large file alone, one thread would do both in turns.
#pragma once

#include <condition_variable>
#include <string_view>
#include <thread>

#include "base/mutex.h"
#include "transfer/sha256.h"

namespace transship::transfer {

class Sha256Aside {
 public:
  Sha256Aside() = default;
  ~Sha256Aside();  // drops what is not hashed yet
  Sha256Aside(const Sha256Aside&) = delete;
  Sha256Aside& operator=(const Sha256Aside&) = delete;

  // Waits for the content before. Where it goes `aside`, it must stay as it is until the next
  // update(), finish() or the destructor has returned.
  void update(std::string_view content, bool aside) EXCLUDES(mutex_);
  // As Sha256's.
  Sha256::Digest finish() EXCLUDES(mutex_);

 private:
  void work() EXCLUDES(mutex_);

  Mutex mutex_;
  std::condition_variable_any changed_;
  Sha256 sha_;  // the thread's while it is busy
  std::string_view content_ GUARDED_BY(mutex_);
  bool busy_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // once it was needed
};

}  // namespace transship::transfer
