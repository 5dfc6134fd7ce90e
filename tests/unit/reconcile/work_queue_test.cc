#include "reconcile/work_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <string>
#include <thread>
#include <vector>

namespace transship::reconcile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

// A queue whose clock only turns when told to.
class WorkQueueTest : public testing::Test {
 protected:
  WorkQueue::Options options() {
    return {.limits = {}, .now = [this] { return now_.load(); }, .observer = nullptr};
  }
  // Everything that can be taken now, each done at once.
  static std::vector<std::string> drain(WorkQueue& queue) {
    std::vector<std::string> keys;
    while (queue.depth() > 0) {
      keys.push_back(queue.get({}).value());
      queue.done(keys.back());
    }
    return keys;
  }
  void pass(std::chrono::nanoseconds time) { now_ = now_.load() + time; }

  std::atomic<WorkQueue::Instant> now_ = WorkQueue::Instant(seconds(1000));
};

TEST_F(WorkQueueTest, HandsOutKeysOldestFirstAndRepeatsOnce) {
  WorkQueue queue(options());
  for (const char* key : {"a", "b", "a", "c", "b"}) queue.add(key);
  EXPECT_THAT(drain(queue), ElementsAre("a", "b", "c"));
}

TEST_F(WorkQueueTest, KeyAddedWhileInWorkComesAgainAfterDone) {
  WorkQueue queue(options());
  queue.add("a");
  EXPECT_EQ(queue.get({}), "a");
  queue.add("a");
  queue.add("a");
  EXPECT_EQ(queue.depth(), 0U) << "no second worker may get it";
  queue.done("a");
  EXPECT_THAT(drain(queue), ElementsAre("a"));
}

TEST_F(WorkQueueTest, DoneOfAKeyNobodyHoldsChangesNothing) {
  WorkQueue queue(options());
  queue.add("a");
  queue.done("a");
  queue.done("b");
  EXPECT_THAT(drain(queue), ElementsAre("a"));
}

TEST_F(WorkQueueTest, DelayedKeyComesWhenItIsDue) {
  WorkQueue queue(options());
  queue.add_after("late", seconds(2));
  queue.add_after("early", seconds(1));
  queue.add_after("now", seconds(0));
  EXPECT_THAT(drain(queue), ElementsAre("now"));
  pass(milliseconds(999));
  EXPECT_THAT(drain(queue), IsEmpty());
  pass(milliseconds(1));
  EXPECT_THAT(drain(queue), ElementsAre("early"));
  pass(seconds(5));
  EXPECT_THAT(drain(queue), ElementsAre("late"));
}

TEST_F(WorkQueueTest, EarliestOfSeveralDelaysWinsInAnyOrder) {
  for (auto delays : {std::array{5, 1, 3}, std::array{1, 3, 5}, std::array{3, 5, 1}}) {
    WorkQueue queue(options());
    for (int delay : delays) queue.add_after("a", seconds(delay));
    pass(seconds(1));
    EXPECT_THAT(drain(queue), ElementsAre("a"));
    pass(seconds(10));
    EXPECT_THAT(drain(queue), IsEmpty()) << "the later ones are dropped";
  }
}

TEST_F(WorkQueueTest, FailuresOfAKeyBackOffUntilItIsForgotten) {
  WorkQueue queue(options());
  for (int expected : {5, 10, 20, 40}) {
    queue.add_rate_limited("a");
    pass(milliseconds(expected) - std::chrono::nanoseconds(1));
    EXPECT_EQ(queue.depth(), 0U) << expected << " ms";
    pass(std::chrono::nanoseconds(1));
    EXPECT_THAT(drain(queue), ElementsAre("a")) << expected << " ms";
  }
  EXPECT_EQ(queue.num_requeues("a"), 4);
  queue.forget("a");
  EXPECT_EQ(queue.num_requeues("a"), 0);
  queue.add_rate_limited("a");
  pass(milliseconds(5));
  EXPECT_THAT(drain(queue), ElementsAre("a"));
}

TEST_F(WorkQueueTest, RateLimitedAddWaitsAtLeastWhatTheServerAsks) {
  WorkQueue queue(options());
  queue.add_rate_limited("a", seconds(30));
  pass(milliseconds(29999));
  EXPECT_EQ(queue.depth(), 0U);
  pass(milliseconds(1));
  EXPECT_EQ(queue.depth(), 1U);
}

TEST_F(WorkQueueTest, AfterShutDownWhatWaitsIsHandedOutAndNothingComesIn) {
  WorkQueue queue(options());
  queue.add("a");
  queue.add("b");
  queue.add_after("delayed", seconds(1));
  queue.shut_down();
  queue.add("c");
  queue.add_after("d", seconds(0));
  queue.add_rate_limited("e");
  pass(seconds(100));
  EXPECT_THAT(drain(queue), ElementsAre("a", "b"));
  EXPECT_EQ(queue.get({}), std::nullopt);
}

TEST_F(WorkQueueTest, StopAndShutDownEndAWaitingGet) {
  WorkQueue queue(options());
  std::stop_source stop;
  auto stopped = std::async(std::launch::async, [&] { return queue.get(stop.get_token()); });
  auto shut = std::async(std::launch::async, [&] { return queue.get({}); });
  stop.request_stop();
  EXPECT_EQ(stopped.get(), std::nullopt);
  queue.shut_down();
  EXPECT_EQ(shut.get(), std::nullopt);
}

TEST_F(WorkQueueTest, SaysWhatWorkersHold) {
  WorkQueue queue(options());
  queue.add("a");
  queue.add("b");
  (void)queue.get({});
  pass(seconds(3));
  (void)queue.get({});
  pass(seconds(1));
  EXPECT_DOUBLE_EQ(queue.unfinished().total_seconds, 5);
  EXPECT_DOUBLE_EQ(queue.unfinished().longest_seconds, 4);
  queue.done("a");
  queue.done("b");
  EXPECT_DOUBLE_EQ(queue.unfinished().longest_seconds, 0);
}

class Journal : public QueueObserver {
 public:
  void on_depth(std::size_t waiting) override {
    lines.push_back("depth " + std::to_string(waiting));
  }
  void on_added() override { lines.push_back("added"); }
  void on_retried() override { lines.push_back("retried"); }
  void on_started(const std::string& key, double queue_seconds) override {
    lines.push_back("started " + key + " " + std::to_string(static_cast<int>(queue_seconds)));
  }
  void on_finished(const std::string& key, double work_seconds) override {
    lines.push_back("finished " + key + " " + std::to_string(static_cast<int>(work_seconds)));
  }
  std::vector<std::string> lines;
};

TEST_F(WorkQueueTest, TellsItsObserverTheLifeOfAKey) {
  Journal journal;
  auto with_journal = options();
  with_journal.observer = &journal;
  WorkQueue queue(with_journal);

  queue.add("a");
  queue.add("a");
  pass(seconds(2));
  (void)queue.get({});
  queue.add_rate_limited("a");
  pass(seconds(3));
  EXPECT_EQ(queue.depth(), 0U);  // due, but still in work
  queue.done("a");
  pass(seconds(4));
  (void)queue.get({});
  EXPECT_THAT(journal.lines,
              ElementsAre("added", "depth 1", "depth 0", "started a 2", "retried", "added",
                          "finished a 3", "depth 1", "depth 0", "started a 6"));
}

TEST(WorkQueueConcurrencyTest, DelayedKeyWakesAWaitingWorker) {
  WorkQueue queue;
  auto taken = std::async(std::launch::async, [&] { return queue.get({}); });
  queue.add_after("late", std::chrono::hours(1));
  queue.add_after("soon", milliseconds(5));
  EXPECT_EQ(taken.get(), "soon");
}

TEST(WorkQueueConcurrencyTest, NoKeyIsEverWithTwoWorkersAndNoAddIsLost) {
  constexpr int kKeys = 5;
  constexpr int kAddsPerThread = 2000;
  WorkQueue queue;
  std::array<std::atomic<int>, kKeys> wanted{};  // raised before each add
  std::array<int, kKeys> seen{};                 // not atomic: the queue must keep workers apart
  std::array<std::atomic<int>, kKeys> holders{};
  std::atomic<int> collisions = 0;

  std::vector<std::jthread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&](const std::stop_token& stop) {
      while (auto key = queue.get(stop)) {
        const auto index = static_cast<std::size_t>(std::stoi(*key));
        if (holders.at(index).fetch_add(1) != 0) ++collisions;
        seen.at(index) = wanted.at(index);
        holders.at(index).fetch_sub(1);
        queue.done(*key);
      }
    });
  }
  {
    std::vector<std::jthread> producers;
    for (int i = 0; i < 3; ++i) {
      producers.emplace_back([&, i] {
        for (int n = 0; n < kAddsPerThread; ++n) {
          const int index = (n + i) % kKeys;
          ++wanted.at(static_cast<std::size_t>(index));
          if (n % 7 == 0)
            queue.add_after(std::to_string(index), std::chrono::microseconds(n % 50));
          else
            queue.add(std::to_string(index));
        }
      });
    }
  }
  for (int index = 0; index < kKeys; ++index) queue.add(std::to_string(index));
  queue.shut_down();
  workers.clear();
  EXPECT_EQ(collisions, 0);
  for (std::size_t i = 0; i < kKeys; ++i) EXPECT_EQ(seen.at(i), wanted.at(i)) << i;
}

}  // namespace
}  // namespace transship::reconcile
