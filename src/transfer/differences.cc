#include "transfer/differences.h"

#include "transfer/entry.h"

namespace transship::transfer {

void Differences::add(std::string_view path, std::string_view what) {
  constexpr int kShown = 5;
  const MutexLock lock(mutex_);
  if (++count_ > kShown) return;
  if (count_ > 1) text_ += "; ";
  ((text_ += quoted(path)) += ' ') += what;
}

Status Differences::status() const {
  const MutexLock lock(mutex_);
  if (count_ == 0) return {};
  return Error{ErrorCode::kCorrupt,
               "what is on disk is not what was sent, " + std::to_string(count_) +
                   (count_ == 1 ? " path differs: " : " paths differ: ") + text_};
}

}  // namespace transship::transfer
