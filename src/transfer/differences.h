// Differences: what is on disk and not as it was sent, the first few for a message.
#pragma once

#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/result.h"

namespace transship::transfer {

// Safe from any thread.
class Differences {
 public:
  // `what`: "is missing", "has another owner".
  void add(std::string_view path, std::string_view what) EXCLUDES(mutex_);
  // OK where there are none, else kCorrupt.
  [[nodiscard]] Status status() const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  int64_t count_ GUARDED_BY(mutex_) = 0;
  std::string text_ GUARDED_BY(mutex_);
};

}  // namespace transship::transfer
