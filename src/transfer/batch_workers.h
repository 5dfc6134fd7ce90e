// BatchWorkers: two threads that work off items, in no order, in batches: a lock and a wake-up cost
// as much as a small file's content.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace transship::transfer {

struct BatchLimits {
  size_t items = 64;        // of a batch
  int64_t bytes = 1 << 20;  // of a batch; an item that has more goes alone
  size_t queued = 8;        // batches
};

template <typename Item>
class BatchWorkers {
 public:
  using Work = std::function<Status(const std::vector<Item>&)>;

  // `make_work` is called once for each thread, which keeps what it returns to itself. `name` is
  // the threads' (15 characters at most).
  BatchWorkers(const char* name, const BatchLimits& limits, const std::function<Work()>& make_work)
      : limits_(limits) {
    for (int i = 0; i < kThreads; ++i) {
      threads_.emplace_back([this, name, work = make_work()] {
        ::pthread_setname_np(::pthread_self(), name);
        run(work);
      });
    }
  }
  ~BatchWorkers() {  // abandons what is left
    {
      const MutexLock lock(mutex_);
      queue_.clear();
    }
    close();
  }
  BatchWorkers(const BatchWorkers&) = delete;
  BatchWorkers& operator=(const BatchWorkers&) = delete;

  // By one thread; `bytes` is about how much work it is. Waits while too many are queued. Fails
  // when an item before has failed.
  Status add(Item item, int64_t bytes) EXCLUDES(mutex_) {
    if (bytes > limits_.bytes) {
      std::vector<Item> alone;
      alone.push_back(std::move(item));
      return hand_over(std::move(alone));
    }
    gathered_.push_back(std::move(item));
    gathered_bytes_ += bytes;
    if (gathered_.size() < limits_.items && gathered_bytes_ < limits_.bytes) return {};
    gathered_bytes_ = 0;
    return hand_over(std::exchange(gathered_, {}));
  }

  // Waits for all; the first failure. Nothing is added afterwards.
  Status finish() EXCLUDES(mutex_) {
    // Where it fails, an item has: that is what is returned below.
    (void)hand_over(std::exchange(gathered_, {}));
    close();
    const MutexLock lock(mutex_);
    return failed_;
  }

 private:
  static constexpr int kThreads = 2;

  Status hand_over(std::vector<Item> batch) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (queue_.size() >= limits_.queued) {
      while (queue_.size() > limits_.queued / 2 && failed_) emptied_.wait(lock);
    }
    if (!failed_) return failed_;
    queue_.push_back(std::move(batch));
    filled_.notify_one();
    return {};
  }

  void close() EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      closed_ = true;
      filled_.notify_all();
    }
    threads_.clear();
  }

  void run(const Work& work) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (true) {
      while (queue_.empty() && !closed_ && failed_) filled_.wait(lock);
      if (queue_.empty() || !failed_) return;
      const std::vector<Item> batch = std::move(queue_.front());
      queue_.pop_front();
      if (queue_.size() == limits_.queued / 2) emptied_.notify_one();
      lock.unlock();
      Status done = work(batch);
      lock.lock();
      if (!done && failed_) {
        failed_ = std::move(done);
        filled_.notify_all();
        emptied_.notify_one();
      }
    }
  }

  const BatchLimits limits_;
  std::vector<Item> gathered_;  // the caller's alone
  int64_t gathered_bytes_ = 0;
  Mutex mutex_;
  std::condition_variable_any filled_;   // a thread waits for work
  std::condition_variable_any emptied_;  // whoever adds waits for room
  std::deque<std::vector<Item>> queue_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  Status failed_ GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;
};

}  // namespace transship::transfer
