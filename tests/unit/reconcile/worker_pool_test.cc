#include "reconcile/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace transship::reconcile {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

// Collects outcomes, and lets a test wait for the n-th.
class Outcomes : public ReconcileObserver {
 public:
  void on_start() override { ++started; }
  void on_finish(Outcome outcome, double seconds) override {
    const std::lock_guard lock(mutex_);
    EXPECT_GE(seconds, 0);
    outcomes_.emplace_back(to_string(outcome));
    changed_.notify_all();
  }
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(60), [&] { return outcomes_.size() >= count; });
    return outcomes_;
  }
  std::atomic<int> started = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> outcomes_;
};

// A reconcile that gives these answers one after the other, then success.
WorkerPool::Reconcile answers(std::vector<std::function<Result<ReconcileResult>()>> script) {
  auto next = std::make_shared<std::atomic<std::size_t>>(0);
  return [script = std::move(script), next](const std::string&, const std::stop_token&) {
    const std::size_t index = (*next)++;
    return index < script.size() ? script[index]() : Result<ReconcileResult>(ReconcileResult{});
  };
}

TEST(WorkerPoolTest, ComesAgainAsTheResultAsks) {
  const auto fail = [](ErrorCode code) { return [code] { return Error{code, "refused"}; }; };
  struct Row {
    std::string name;
    std::function<Result<ReconcileResult>()> first;
    std::vector<std::string> outcomes;
  };
  const std::vector<Row> rows = {
      {"success", [] { return ReconcileResult{}; }, {"success"}},
      {"asks to come again",
       [] { return ReconcileResult{.requeue_after = milliseconds(1)}; },
       {"requeue_after", "success"}},
      {"error", fail(ErrorCode::kUnavailable), {"error", "success"}},
      {"conflict", fail(ErrorCode::kConflict), {"requeue", "success"}},
      {"cancelled", fail(ErrorCode::kCancelled), {"requeue", "success"}},
      {"exception",
       []() -> Result<ReconcileResult> { throw std::runtime_error("a bug"); },
       {"error", "success"}},
      {"thrown number", []() -> Result<ReconcileResult> { throw 7; }, {"error", "success"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    WorkQueue queue;
    Outcomes outcomes;
    WorkerPool pool(queue, 2, answers({row.first}), &outcomes);
    queue.add("key");
    pool.start();
    EXPECT_EQ(outcomes.wait_for(row.outcomes.size()), row.outcomes);
    pool.stop();
    EXPECT_EQ(queue.num_requeues("key"), 0) << "success forgets failures";
    EXPECT_EQ(outcomes.started, static_cast<int>(row.outcomes.size()));
    EXPECT_EQ(pool.active(), 0);
  }
}

TEST(WorkerPoolTest, HonoursRetryAfter) {
  std::atomic<WorkQueue::Instant> now = WorkQueue::Instant{};
  WorkQueue queue({.limits = {}, .now = [&] { return now.load(); }, .observer = nullptr});
  Outcomes outcomes;
  WorkerPool pool(queue, 1, answers({[] {
                    return Error{ErrorCode::kUnavailable, "too many requests", 7};
                  }}),
                  &outcomes);
  queue.add("key");
  pool.start();
  EXPECT_THAT(outcomes.wait_for(1), ElementsAre("error"));
  pool.stop();
  now = WorkQueue::Instant(milliseconds(6999));
  EXPECT_EQ(queue.depth(), 0U);
  now = WorkQueue::Instant(milliseconds(7000));
  EXPECT_EQ(queue.depth(), 1U);
}

TEST(WorkerPoolTest, StopFinishesWhatIsInProgressAndTakesNothingMore) {
  WorkQueue queue;
  std::promise<void> entered;
  std::atomic<bool> finished = false;
  WorkerPool pool(queue, 1, [&](const std::string& key, const std::stop_token& stop) {
    EXPECT_EQ(key, "first");
    entered.set_value();
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait(lock, stop, [] { return false; });  // until asked to stop
    finished = true;
    return ReconcileResult{};
  });
  queue.add("first");
  queue.add("second");
  pool.start();
  entered.get_future().wait();
  EXPECT_EQ(pool.active(), 1);
  pool.stop();
  EXPECT_TRUE(finished);
  EXPECT_EQ(queue.depth(), 1U) << "the other key stays in the queue";
}

TEST(WorkerPoolTest, ShutDownQueueIsWorkedOffBeforeStop) {
  WorkQueue queue;
  std::mutex mutex;
  std::multiset<std::string> seen;
  Outcomes outcomes;
  WorkerPool pool(
      queue, 3,
      [&](const std::string& key, const std::stop_token&) {
        const std::lock_guard lock(mutex);
        seen.insert(key);
        return ReconcileResult{};
      },
      &outcomes);
  for (const char* key : {"a", "b", "c", "d"}) queue.add(key);
  queue.shut_down();
  pool.start();
  outcomes.wait_for(4);
  pool.stop();
  EXPECT_THAT(seen, UnorderedElementsAre("a", "b", "c", "d"));
}

TEST(WorkerPoolTest, OneKeyIsNeverReconciledTwiceAtATime) {
  WorkQueue queue;
  std::map<std::string, int> counts = {{"a", 0}, {"b", 0}, {"c", 0}};  // unguarded on purpose
  Outcomes outcomes;
  WorkerPool pool(
      queue, 4,
      [&](const std::string& key, const std::stop_token&) -> Result<ReconcileResult> {
        if (++counts.at(key) < 100) return ReconcileResult{.requeue_after = milliseconds(0)};
        return ReconcileResult{};
      },
      &outcomes);
  pool.start();
  for (const auto* key : {"a", "b", "c"}) queue.add(key);
  outcomes.wait_for(300);
  pool.stop();
  for (const auto& [key, count] : counts) EXPECT_EQ(count, 100) << key;
}

}  // namespace
}  // namespace transship::reconcile
