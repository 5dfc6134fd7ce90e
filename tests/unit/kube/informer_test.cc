#include "kube/informer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/kube/scripted_transport.h"

namespace transship::kube {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

constexpr milliseconds kPatience{60000};

Json pod(const std::string& name, int version, const std::string& uid = "") {
  return {{"metadata",
           {{"namespace", "ns"},
            {"name", name},
            {"uid", uid.empty() ? "uid-" + name : uid},
            {"resourceVersion", std::to_string(version)},
            {"managedFields", {{{"manager", "kubelet"}}}}}}};
}
Json event(const char* type, Json object) { return {{"type", type}, {"object", object}}; }
Json bookmark(int version) {
  return event("BOOKMARK", {{"metadata", {{"resourceVersion", std::to_string(version)}}}});
}
Json initial_events_end(int version) {
  Json mark = bookmark(version);
  mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] = "true";
  return mark;
}
Json gone() { return event("ERROR", {{"kind", "Status"}, {"code", 410}, {"reason", "Expired"}}); }
Response list_of(int version, std::vector<Json> items, const std::string& next = "") {
  Json metadata = {{"resourceVersion", std::to_string(version)}};
  if (!next.empty()) metadata["continue"] = next;
  return {.status = 200, .body = Json({{"metadata", metadata}, {"items", items}}).dump()};
}

// What an informer told, e.g. "+a@1", "a@1>2", "-a@2".
class Changes {
 public:
  Informer::Handler handler() {
    return [this](const Informer::Object& old, const Informer::Object& current) {
      const std::lock_guard lock(mutex_);
      const Json& metadata = (current ? *current : *old)["metadata"];
      const auto version = [](const Informer::Object& object) {
        return (*object)["metadata"]["resourceVersion"].get<std::string>();
      };
      const auto name = metadata["name"].get<std::string>();
      if (!old) {
        lines_.push_back("+" + name + "@" + version(current));
      } else if (!current) {
        lines_.push_back("-" + name + "@" + version(old));
      } else {
        lines_.push_back(name + "@" + version(old) + ">" + version(current));
      }
      changed_.notify_all();
    };
  }
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return lines_.size() >= count; });
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

class InformerTest : public testing::Test {
 protected:
  static InformerOptions options() {
    InformerOptions options;
    options.minimum_delay = milliseconds(1);
    options.maximum_delay = milliseconds(2);
    return options;
  }
  // Answers the n-th LIST with the n-th of these, then with the last one.
  void lists(std::vector<Response> answers) {
    server_->before = [answers = std::move(answers), next = std::size_t{0}](
                          const Request&) mutable -> std::optional<Result<Response>> {
      const std::size_t index = std::min(next++, answers.size() - 1);
      return Result<Response>(answers[index]);
    };
  }
  bool wait_for_watches(std::size_t count) { return wait_for("WATCH", count); }
  bool wait_for(const std::string& method, std::size_t count) {
    return server_->wait([&](const std::vector<std::string>& log) {
      return static_cast<std::size_t>(std::count_if(log.begin(), log.end(), [&](const auto& line) {
               return line.starts_with(method);
             })) >= count;
    });
  }

  std::shared_ptr<ScriptedTransport> server_ = std::make_shared<ScriptedTransport>();
  Client client_{server_, {.read_attempts = 1}};
  Changes changes_;
};

TEST_F(InformerTest, StreamsTheListAndFollowsChanges) {
  server_->script({ScriptedTransport::events(
      {event("ADDED", pod("b", 1)), event("ADDED", pod("a", 2)), initial_events_end(5),
       event("ADDED", pod("c", 6)), event("MODIFIED", pod("a", 7)), event("DELETED", pod("b", 8))},
      true)});
  Informer informer(client_, kPods, options());
  informer.on_change(changes_.handler());
  EXPECT_FALSE(informer.has_synced());
  informer.start();
  EXPECT_TRUE(informer.wait_synced(kPatience));
  EXPECT_THAT(changes_.wait_for(5), ElementsAre("+a@2", "+b@1", "+c@6", "a@2>7", "-b@8"));
  informer.stop();

  EXPECT_EQ(informer.get("ns", "b"), nullptr);
  EXPECT_EQ(informer.get("other", "a"), nullptr);
  ASSERT_NE(informer.get("ns", "a"), nullptr);
  EXPECT_FALSE((*informer.get("ns", "a"))["metadata"].contains("managedFields"));
  ASSERT_EQ(informer.list().size(), 2U);
  EXPECT_EQ(*informer.list()[1], *informer.get("ns", "c"));
  ASSERT_EQ(server_->log().size(), 1U);
  EXPECT_THAT(server_->log()[0], HasSubstr("sendInitialEvents=true"));
}

TEST_F(InformerTest, NothingIsToldBeforeTheStreamingListIsWhole) {
  server_->script({ScriptedTransport::events({event("ADDED", pod("a", 1)), bookmark(2)}, true)});
  Informer informer(client_, kPods, options());
  informer.on_change(changes_.handler());
  informer.start();
  EXPECT_FALSE(informer.wait_synced(milliseconds(20)));
  informer.stop();
  EXPECT_THAT(changes_.wait_for(0), IsEmpty());
  EXPECT_THAT(informer.list(), IsEmpty());
}

TEST_F(InformerTest, WithoutStreamingListsItListsByPagesAndWatchesFromThere) {
  server_->script({ScriptedTransport::refused(422, "Invalid"),
                   ScriptedTransport::events({event("ADDED", pod("c", 12))}, true)});
  lists({list_of(10, {pod("a", 1)}, "more"), list_of(10, {pod("b", 2)})});
  auto with_selectors = options();
  with_selectors.ns = "ns";
  with_selectors.label_selector = "app=db";
  with_selectors.page_size = 1;
  Informer informer(client_, kPods, with_selectors);
  informer.on_change(changes_.handler());
  informer.start();
  EXPECT_THAT(changes_.wait_for(3), ElementsAre("+a@1", "+b@2", "+c@12"));
  informer.stop();

  const std::vector<std::string> log = server_->log();
  ASSERT_EQ(log.size(), 4U);
  EXPECT_THAT(log[1], HasSubstr("limit=1"));
  EXPECT_THAT(log[2], HasSubstr("continue=more"));
  EXPECT_THAT(log[3], HasSubstr("resourceVersion=10"));
  EXPECT_THAT(log[3], HasSubstr("allowWatchBookmarks=true"));
  EXPECT_THAT(log[3], Not(HasSubstr("sendInitialEvents")));
  for (const std::string& line : log) EXPECT_THAT(line, HasSubstr("labelSelector=app%3Ddb"));
}

TEST_F(InformerTest, AfterTheServerEndsAWatchItGoesOnWhereItWas) {
  server_->script({ScriptedTransport::events({initial_events_end(5), event("ADDED", pod("a", 6))}),
                   ScriptedTransport::events({bookmark(9)}),
                   ScriptedTransport::events({event("MODIFIED", pod("a", 11))}, true)});
  Informer informer(client_, kPods, options());
  informer.on_change(changes_.handler());
  informer.start();
  EXPECT_THAT(changes_.wait_for(2), ElementsAre("+a@6", "a@6>11"));
  informer.stop();
  EXPECT_THAT(server_->log()[1], HasSubstr("resourceVersion=6"));
  EXPECT_THAT(server_->log()[2], HasSubstr("resourceVersion=9"));
}

// Both ways in which a server says it: as the answer, and as an event.
TEST_F(InformerTest, WhatVanishedBeforeARelistIsDeletedWithItsLastKnownState) {
  for (const auto& expired :
       {ScriptedTransport::refused(410, "Expired"), ScriptedTransport::events({gone()})}) {
    server_->script(
        {ScriptedTransport::events({event("ADDED", pod("kept", 1)), event("ADDED", pod("old", 2)),
                                    event("ADDED", pod("new-uid", 3)), initial_events_end(5),
                                    event("MODIFIED", pod("old", 6))}),
         expired,
         ScriptedTransport::events(
             {event("ADDED", pod("kept", 1)), event("ADDED", pod("new-uid", 30, "another")),
              event("ADDED", pod("added", 31)), initial_events_end(40)},
             true)});
    Changes changes;
    Informer informer(client_, kPods, options());
    informer.on_change(changes.handler());
    informer.start();
    EXPECT_THAT(changes.wait_for(8),
                ElementsAre("+kept@1", "+new-uid@3", "+old@2", "old@2>6", "-new-uid@3", "-old@6",
                            "+added@31", "+new-uid@30"));
    informer.stop();
    EXPECT_EQ(informer.list().size(), 3U);
  }
}

TEST_F(InformerTest, RelistOfPagesTellsOnlyWhatChanged) {
  server_->script(
      {ScriptedTransport::refused(400, "BadRequest"), ScriptedTransport::events({gone()})});
  lists({list_of(10, {pod("a", 1), pod("b", 2), pod("c", 3)}),
         list_of(20, {pod("b", 2), pod("c", 13)})});
  Informer informer(client_, kPods, options());
  informer.on_change(changes_.handler());
  informer.start();
  EXPECT_THAT(changes_.wait_for(5), ElementsAre("+a@1", "+b@2", "+c@3", "-a@1", "c@3>13"));
  EXPECT_TRUE(wait_for_watches(3));
  informer.stop();
  EXPECT_THAT(server_->log().back(), HasSubstr("resourceVersion=20"));
}

TEST_F(InformerTest, ErrorsAreTriedAgainAndTheStoreStays) {
  const auto broken = [](const Request&, const Transport::OnLine&,
                         const std::stop_token&) -> Result<Response> {
    return Error{ErrorCode::kUnavailable, "connection reset"};
  };
  server_->script({broken, ScriptedTransport::refused(503, "ServiceUnavailable"),
                   ScriptedTransport::events({event("ADDED", pod("half", 1))}),  // cut off
                   ScriptedTransport::refused(403, "Forbidden"), broken,
                   ScriptedTransport::events({}),  // ends at once
                   ScriptedTransport::events({{{"type", "?"}, {"object", Json::object()}}}),
                   ScriptedTransport::events({event("MODIFIED", pod("a", 21))}, true)});
  lists({ScriptedTransport::failure(500, "InternalError"), list_of(20, {pod("a", 1)})});
  Informer informer(client_, kPods, options());
  informer.on_change(changes_.handler());
  informer.start();
  EXPECT_THAT(changes_.wait_for(2), ElementsAre("+a@1", "a@1>21"));
  informer.stop();
  EXPECT_EQ(informer.list().size(), 1U);
}

TEST_F(InformerTest, TransformDecidesWhatIsKept) {
  server_->script(
      {ScriptedTransport::events({event("ADDED", pod("a", 1)), initial_events_end(5)}, true)});
  auto with_transform = options();
  with_transform.transform = [](Json& object) { object["seen"] = true; };
  Informer informer(client_, kPods, with_transform);
  informer.start();
  EXPECT_TRUE(informer.wait_synced(kPatience));
  EXPECT_EQ((*informer.get("ns", "a"))["seen"], true);
  EXPECT_TRUE((*informer.get("ns", "a"))["metadata"].contains("managedFields"));
}

TEST_F(InformerTest, StopEndsAQuietWatchALongDelayAndAWaitForSync) {
  auto slow = options();
  slow.minimum_delay = slow.maximum_delay = std::chrono::hours(1);
  server_->script({ScriptedTransport::refused(503, "ServiceUnavailable")});
  Informer delayed(client_, kPods, slow);
  delayed.start();
  EXPECT_TRUE(wait_for_watches(1));
  Informer quiet(client_, kPods, options());
  quiet.start();
  EXPECT_TRUE(wait_for_watches(2));

  std::stop_source stop;
  std::jthread waiter(
      [&] { EXPECT_FALSE(quiet.wait_synced(std::chrono::hours(1), stop.get_token())); });
  stop.request_stop();
  waiter.join();
  delayed.stop();
  quiet.stop();
}

TEST_F(InformerTest, ReadsAreSafeWhileChangesCome) {
  std::vector<Json> story = {initial_events_end(1)};
  for (int i = 2; i < 1000; ++i) story.push_back(event("ADDED", pod(std::to_string(i % 10), i)));
  server_->script({ScriptedTransport::events(story, true)});
  Informer informer(client_, kPods, options());
  informer.on_change(changes_.handler());
  std::jthread reader([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (const auto& object : informer.list()) EXPECT_TRUE(object->contains("metadata"));
      (void)informer.get("ns", "3");
    }
  });
  informer.start();
  EXPECT_EQ(changes_.wait_for(998).size(), 998U);
}

}  // namespace
}  // namespace transship::kube
