#include "mover/deadline.h"

#include <algorithm>
#include <condition_variable>
#include <string>

#include "base/mutex.h"

namespace transship::mover {

Deadline::Deadline(std::stop_token stop, std::chrono::milliseconds limit) : stop_(std::move(stop)) {
  if (limit.count() > 0) end_ = Clock::now() + limit;
}

Deadline Deadline::at_most(std::chrono::milliseconds limit) const {
  Deadline shorter(stop_, limit);
  if (end_ && (!shorter.end_ || *end_ < *shorter.end_)) shorter.end_ = end_;
  return shorter;
}

Status Deadline::check(std::string_view doing) const {
  if (stop_.stop_requested()) {
    return Error{ErrorCode::kCancelled, std::string(doing) + ": asked to stop"};
  }
  if (end_ && Clock::now() >= *end_) {
    return Error{ErrorCode::kTimeout, std::string(doing) + ": the deadline has passed"};
  }
  return {};
}

Status Deadline::wait(std::chrono::milliseconds pause, std::string_view doing) const {
  TRANSSHIP_TRY(check(doing));
  auto until = Clock::now() + pause;
  if (end_) until = std::min(until, *end_);
  Mutex mutex;
  std::condition_variable_any asked_to_stop;
  MutexLock lock(mutex);
  asked_to_stop.wait_until(lock, stop_, until, [] { return false; });
  return check(doing);
}

}  // namespace transship::mover
