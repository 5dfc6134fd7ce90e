#include "kube/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/kube/scripted_transport.h"

namespace transship::kube {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::SizeIs;
using testing::StartsWith;

const Json kPod = {{"apiVersion", "v1"}, {"kind", "Pod"}, {"namespace", "ns"},
                   {"name", "db-0"},     {"uid", "1234"}, {"resourceVersion", "7"}};

class EventsTest : public testing::Test {
 protected:
  EventRecorderOptions options() {
    EventRecorderOptions options;
    options.retry_delay = std::chrono::milliseconds(1);
    options.flush_limit = seconds(60);
    options.now = [this] { return EventRecorderOptions::Instant(now_.load()); };
    options.wall_now = [this] { return WallTime(seconds(1700000000)) + now_.load(); };
    return options;
  }
  std::unique_ptr<EventRecorder> recorder(EventRecorderOptions with) {
    return std::make_unique<EventRecorder>(client_, "transship.dev/controller", "pod-1", with);
  }
  static void moved(EventRecorder& events, const std::string& note = "moved to node-b") {
    events.record(kPod, "Normal", "Migrated", "Migrate", note);
  }
  bool wait_for_requests(std::size_t count) {
    return server_->wait([&](const auto& log) { return log.size() >= count; });
  }
  std::vector<Json> stored() const {
    std::vector<Json> events;
    for (const auto& [path, event] : server_->objects()) events.push_back(event);
    return events;
  }

  std::shared_ptr<ScriptedTransport> server_ = std::make_shared<ScriptedTransport>();
  Client client_{server_, {.read_attempts = 1}};
  std::atomic<std::chrono::nanoseconds> now_ = std::chrono::nanoseconds(seconds(100));
};

TEST_F(EventsTest, WritesAnEventOfTheNewApi) {
  auto events = recorder(options());
  moved(*events);
  events->stop();
  ASSERT_THAT(stored(), SizeIs(1));
  const Json event = stored()[0];
  EXPECT_EQ(event["apiVersion"], "events.k8s.io/v1");
  EXPECT_EQ(event["kind"], "Event");
  EXPECT_THAT(event["metadata"]["name"].get<std::string>(), StartsWith("db-0."));
  EXPECT_EQ(event["metadata"]["namespace"], "ns");
  EXPECT_EQ(event["eventTime"], "2023-11-14T22:15:00.000000Z");
  EXPECT_EQ(event["reportingController"], "transship.dev/controller");
  EXPECT_EQ(event["reportingInstance"], "pod-1");
  EXPECT_EQ(event["type"], "Normal");
  EXPECT_EQ(event["reason"], "Migrated");
  EXPECT_EQ(event["action"], "Migrate");
  EXPECT_EQ(event["note"], "moved to node-b");
  EXPECT_EQ(event["regarding"], kPod);
  EXPECT_FALSE(event.contains("series"));
}

TEST_F(EventsTest, TakesAWholeObjectAndOneOfTheCluster) {
  auto events = recorder(options());
  events->record({{"apiVersion", "v1"},
                  {"kind", "Node"},
                  {"metadata", {{"name", "node-a"}, {"uid", "n1"}, {"labels", {{"a", "b"}}}}},
                  {"spec", Json::object()}},
                 "Warning", "NoSpace", "Refuse", "full");
  events->stop();
  ASSERT_THAT(stored(), SizeIs(1));
  EXPECT_EQ(stored()[0]["metadata"]["namespace"], "default");
  EXPECT_EQ(stored()[0]["regarding"],
            Json({{"apiVersion", "v1"}, {"kind", "Node"}, {"name", "node-a"}, {"uid", "n1"}}));
}

TEST_F(EventsTest, NoteIsCutToItsLimitBetweenCharacters) {
  auto events = recorder(options());
  moved(*events, std::string(1023, 'x') + "\u00e9 and more");
  moved(*events, std::string(1024, 'y'));
  events->stop();
  std::vector<std::size_t> sizes;
  for (const Json& event : stored()) sizes.push_back(event["note"].get<std::string>().size());
  EXPECT_THAT(sizes, testing::UnorderedElementsAre(1023U, 1024U));
}

TEST_F(EventsTest, RepeatsBecomeASeriesOfOneObject) {
  auto events = recorder(options());
  moved(*events);
  ASSERT_TRUE(wait_for_requests(1));
  now_ = seconds(160);
  moved(*events);
  ASSERT_TRUE(wait_for_requests(2)) << "the first repeat is written soon";
  ASSERT_THAT(stored(), SizeIs(1));
  EXPECT_EQ(stored()[0]["series"]["count"], 2);
  EXPECT_EQ(stored()[0]["series"]["lastObservedTime"], "2023-11-14T22:16:00.000000Z");

  for (int i = 0; i < 100; ++i) moved(*events);  // the rest at most every ten seconds
  events->stop();
  EXPECT_THAT(server_->log(), SizeIs(3)) << "and at the stop";
  EXPECT_EQ(stored()[0]["series"]["count"], 102);
  EXPECT_EQ(stored()[0]["note"], "moved to node-b");
}

TEST_F(EventsTest, SeriesEndsAfterItsWindowAndOtherEventsAreNotInIt) {
  auto events = recorder(options());
  moved(*events);
  moved(*events, "moved to node-c");
  ASSERT_TRUE(wait_for_requests(2));
  now_ = now_.load() + minutes(6) + seconds(1);
  moved(*events);
  events->stop();
  EXPECT_THAT(stored(), SizeIs(3));
  for (const Json& event : stored()) EXPECT_FALSE(event.contains("series"));
}

TEST_F(EventsTest, RepeatOfAnotherVersionOfTheObjectIsARepeat) {
  auto events = recorder(options());
  moved(*events);
  Json later = kPod;
  later["resourceVersion"] = "8";
  events->record(later, "Normal", "Migrated", "Migrate", "moved to node-b");
  events->stop();
  ASSERT_THAT(stored(), SizeIs(1));
  EXPECT_EQ(stored()[0]["series"]["count"], 2);
}

TEST_F(EventsTest, SeriesGoesOnWhenTheServerForgotItsEvent) {
  auto events = recorder(options());
  moved(*events);
  ASSERT_TRUE(wait_for_requests(1));
  for (const auto& [path, event] : server_->objects()) server_->drop(path);
  moved(*events);
  events->stop();
  ASSERT_THAT(stored(), SizeIs(1));
  EXPECT_EQ(stored()[0]["series"]["count"], 2);
}

TEST_F(EventsTest, UnavailableServerIsTriedAgainWithTheSameName) {
  std::vector<std::string> names;
  server_->before = [&](const Request& request) -> std::optional<Result<Response>> {
    names.push_back(Json::parse(request.body)["metadata"]["name"]);
    if (names.size() == 1) return Result<Response>(ScriptedTransport::failure(503, "Unavailable"));
    if (names.size() == 2) return Result<Response>(Error{ErrorCode::kTimeout, "slow"});
    return std::nullopt;
  };
  auto events = recorder(options());
  moved(*events);
  ASSERT_TRUE(wait_for_requests(3));
  events->stop();
  EXPECT_THAT(names, ElementsAre(names[0], names[0], names[0]));
  EXPECT_THAT(stored(), SizeIs(1));
}

TEST_F(EventsTest, RefusedEventIsNotTriedAgain) {
  server_->before = [](const Request&) {
    return Result<Response>(ScriptedTransport::failure(403, "Forbidden"));
  };
  auto events = recorder(options());
  moved(*events);
  events->stop();
  EXPECT_THAT(server_->log(), SizeIs(1));
}

TEST_F(EventsTest, OldestAreDroppedWhenTooManyWait) {
  std::promise<void> entered;
  std::promise<void> go_on;
  std::atomic<bool> first = true;
  server_->before = [&](const Request&) -> std::optional<Result<Response>> {
    if (first.exchange(false)) {
      entered.set_value();
      go_on.get_future().wait();
    }
    return std::nullopt;
  };
  auto with_limit = options();
  with_limit.queue_limit = 2;
  auto events = recorder(with_limit);
  moved(*events, "in work");
  entered.get_future().wait();
  for (const char* note : {"dropped", "dropped, too", "kept 1", "kept 2"}) moved(*events, note);
  go_on.set_value();
  events->stop();
  std::vector<std::string> notes;
  for (const Json& event : stored()) notes.push_back(event["note"]);
  EXPECT_THAT(notes, testing::UnorderedElementsAre("in work", "kept 1", "kept 2"));
}

TEST_F(EventsTest, StopIsBoundedAndLaterEventsAreIgnored) {
  server_->before = [](const Request&) {
    return Result<Response>(ScriptedTransport::failure(503, "Unavailable"));
  };
  auto impatient = options();
  impatient.retry_delay = std::chrono::hours(1);
  impatient.flush_limit = std::chrono::milliseconds(0);
  auto events = recorder(impatient);
  moved(*events);
  ASSERT_TRUE(wait_for_requests(1));
  events->stop();
  moved(*events);
  events.reset();
  EXPECT_THAT(server_->log(), SizeIs(1));
}

}  // namespace
}  // namespace transship::kube
