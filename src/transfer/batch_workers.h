// BatchWorkers: two threads that work off batches of items, in no order among batches.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace transship::transfer {

template <typename Item>
class BatchWorkers {
 public:
  using Batch = std::vector<Item>;
  using Work = std::function<Status(Batch&)>;

  // `make_work` is called once for each thread, which keeps what it returns to itself. `name` is
  // the threads' (15 characters at most).
  BatchWorkers(const char* name, const std::function<Work()>& make_work) {
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

  // Waits while too many are queued. Fails when a batch before has failed.
  Status add(Batch batch) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (queue_.size() >= kQueued && failed_) changed_.wait(lock);
    if (!failed_) return failed_;
    queue_.push_back(std::move(batch));
    changed_.notify_all();
    return {};
  }

  // Waits for all; the first failure.
  Status finish() EXCLUDES(mutex_) {
    close();
    const MutexLock lock(mutex_);
    return failed_;
  }

 private:
  static constexpr int kThreads = 2;
  static constexpr size_t kQueued = 8;

  void close() EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      closed_ = true;
      changed_.notify_all();
    }
    threads_.clear();
  }

  void run(const Work& work) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (true) {
      while (queue_.empty() && !closed_ && failed_) changed_.wait(lock);
      if (queue_.empty() || !failed_) return;
      Batch batch = std::move(queue_.front());
      queue_.pop_front();
      changed_.notify_all();
      lock.unlock();
      Status done = work(batch);
      lock.lock();
      if (!done && failed_) {
        failed_ = std::move(done);
        changed_.notify_all();
      }
    }
  }

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Batch> queue_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  Status failed_ GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;
};

}  // namespace transship::transfer
