#include "transfer/write_lanes.h"

#include <pthread.h>

namespace transship::transfer {
namespace {

constexpr size_t kQueued = 8;
// Whoever waits for room goes on when there is some for several batches: to sleep and wake for each
// costs more than to write it.
constexpr size_t kRoom = kQueued / 2;

}  // namespace

WriteLanes::WriteLanes(bool projects, XattrScope xattrs) : writer_(projects, xattrs) {
  for (size_t lane = 0; lane < kLanes; ++lane) {
    threads_.emplace_back([this, lane] {
      ::pthread_setname_np(::pthread_self(), "write");
      work(lane);
    });
  }
}

WriteLanes::~WriteLanes() { abandon(); }

void WriteLanes::abandon() {
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    for (Lane& lane : lanes_) lane.queue.clear();
    for (auto& filled : filled_) filled.notify_one();
  }
  threads_.clear();
}

size_t WriteLanes::lane_for(NodeId directory) {
  const MutexLock lock(mutex_);
  size_t best = 0;
  for (size_t i = 0; i < kLanes; ++i) {
    const Lane& lane = lanes_[i];
    if (lane.directory == directory && (lane.busy || !lane.queue.empty())) return i;
    if (lane.queue.size() + (lane.busy ? 1U : 0U) <
        lanes_[best].queue.size() + (lanes_[best].busy ? 1U : 0U))
      best = i;
  }
  lanes_[best].directory = directory;
  return best;
}

void WriteLanes::add(size_t lane, Batch batch) {
  MutexLock lock(mutex_);
  std::deque<Batch>& queue = lanes_[lane].queue;
  if (queue.size() >= kQueued) {
    while (queue.size() > kRoom && !failure_) emptied_.wait(lock);
  }
  if (failure_) return;
  queue.push_back(std::move(batch));
  if (queue.size() == 1) filled_[lane].notify_one();
}

void WriteLanes::drain() {
  MutexLock lock(mutex_);
  const auto idle = [&]() REQUIRES(mutex_) {
    for (const Lane& lane : lanes_) {
      if (lane.busy || !lane.queue.empty()) return false;
    }
    return true;
  };
  while (!idle()) emptied_.wait(lock);
}

std::optional<WriteLanes::Failure> WriteLanes::failure() {
  const MutexLock lock(mutex_);
  return failure_;
}

void WriteLanes::work(size_t number) {
  MutexLock lock(mutex_);
  Lane& lane = lanes_[number];
  while (true) {
    while (lane.queue.empty() && !closed_) filled_[number].wait(lock);
    if (closed_) return;
    const Batch batch = std::move(lane.queue.front());
    lane.queue.pop_front();
    if (failure_) {
      emptied_.notify_one();
      continue;
    }
    lane.busy = true;
    lock.unlock();
    std::optional<Failure> failed;
    for (const WriteJob& job : batch.jobs) {
      if (const Written written = writer_.run(job)) {
        failed = Failure{job.directory, std::string(job.name), *written};
        break;
      }
    }
    lock.lock();
    lane.busy = false;
    if (failed && !failure_) failure_ = failed;
    if (failure_ || lane.queue.size() == kRoom || lane.queue.empty()) emptied_.notify_one();
  }
}

}  // namespace transship::transfer
