#include "transfer/until.h"

#include <algorithm>
#include <condition_variable>
#include <string>

#include "base/mutex.h"

namespace transship::transfer {

Status Until::check(std::string_view doing) const {
  if (stop.stop_requested()) {
    return Error{ErrorCode::kCancelled, std::string(doing) + ": asked to stop"};
  }
  if (end && Clock::now() >= *end) {
    return Error{ErrorCode::kTimeout, std::string(doing) + ": the deadline has passed"};
  }
  return {};
}

Status Until::sleep_until(Clock::time_point moment, std::string_view doing) const {
  TRANSSHIP_TRY(check(doing));
  if (end) moment = std::min(moment, *end);
  Mutex mutex;
  std::condition_variable_any asked_to_stop;
  MutexLock lock(mutex);
  asked_to_stop.wait_until(lock, stop, moment, [] { return false; });
  return check(doing);
}

}  // namespace transship::transfer
