// WriteLanes: the receiver's writing threads. What concerns one directory, or one large file, goes
// to one of them, in order: two that make files in one directory only wait for each other.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "transfer/frames.h"
#include "transfer/node_writer.h"

namespace transship::transfer {

class WriteLanes {
 public:
  static constexpr size_t kLanes = 2;

  struct Batch {
    std::shared_ptr<const Frame> frame;  // whose bytes the jobs point into
    std::vector<WriteJob> jobs;
  };
  struct Failure {
    NodeId directory = kRootNode;
    std::string name;
    WriteFailure what;
  };

  // `projects`: project ids are carried.
  WriteLanes(bool projects, XattrScope xattrs);
  ~WriteLanes();

  // The lane for jobs in the directory.
  [[nodiscard]] size_t lane_for(NodeId directory) EXCLUDES(mutex_);
  // Waits while too much is queued. By one thread, as drain().
  void add(size_t lane, Batch batch) EXCLUDES(mutex_);
  // Waits until nothing is queued or worked on.
  void drain() EXCLUDES(mutex_);
  // Drops what is queued and waits for what is worked on. Of no use afterwards.
  void abandon() EXCLUDES(mutex_);
  // The first failure; nothing is done after it.
  [[nodiscard]] std::optional<Failure> failure() EXCLUDES(mutex_);

 private:
  struct Lane {
    std::deque<Batch> queue;
    bool busy = false;
    NodeId directory = kNoNode;  // of the latest jobs
  };
  void work(size_t lane) EXCLUDES(mutex_);

  NodeWriter writer_;
  Mutex mutex_;
  std::array<std::condition_variable_any, kLanes> filled_;  // the thread of the lane waits
  std::condition_variable_any emptied_;                     // whoever adds or drains waits
  std::array<Lane, kLanes> lanes_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  std::optional<Failure> failure_ GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;
};

}  // namespace transship::transfer
