// The client against a real API server.
#include "kube/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <optional>

#include "kube/status_error.h"
#include "tests/integration/kube/api_server.h"

namespace transship::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class ClientAndServer : public ApiServerTest {
 protected:
  [[nodiscard]] Json config_map(const std::string& name, const std::string& value = "1") const {
    return {{"metadata", {{"name", name}, {"namespace", ns_}}}, {"data", {{"key", value}}}};
  }
  Json created(const std::string& name) {
    auto made = client_.create(kConfigMaps, ns_, config_map(name));
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? *made : Json();
  }
  std::string stored(const std::string& name) {
    const auto found = client_.get(kConfigMaps, ns_, name);
    return found.ok() ? found->at("data").at("key").get<std::string>() : found.error().message;
  }
  // All events until `last` comes, as "TYPE name".
  std::vector<std::string> watched(const WatchOptions& options, const std::string& last) {
    std::vector<std::string> events;
    const auto done =
        client_.watch(kConfigMaps, ns_, options,
                      [&](const Json& event) {
                        events.push_back(event["type"].get<std::string>() + " " +
                                         event["object"]["metadata"].value("name", ""));
                        return events.back() != last;
                      },
                      {});
    EXPECT_TRUE(done.ok()) << done.error().message;
    return events;
  }
};

template <typename T>
ErrorCode code(const Result<T>& result) {
  EXPECT_FALSE(result.ok());
  return result.ok() ? ErrorCode::kInternal : result.error().code;
}

TEST_F(ClientAndServer, TheServerSaysWhatItIs) {
  EXPECT_THAT(*client_.server_version(), testing::StartsWith("v1."));
  EXPECT_TRUE(*client_.serves(kPods));
  EXPECT_TRUE(*client_.serves(kLeases));
  EXPECT_FALSE(*client_.serves(kContainerMigrations));
  EXPECT_FALSE(*client_.serves({"", "v1", "nothings", "Nothing"}));
}

TEST_F(ClientAndServer, AnObjectIsCreatedReadChangedAndDeleted) {
  const Json first = created("a");
  EXPECT_EQ(first["kind"], "ConfigMap");
  EXPECT_EQ(stored("a"), "1");
  EXPECT_EQ(code(client_.create(kConfigMaps, ns_, config_map("a"))), ErrorCode::kAlreadyExists);

  Json changed = first;
  changed["data"]["key"] = "2";
  ASSERT_TRUE(client_.update(kConfigMaps, ns_, changed).ok());
  EXPECT_EQ(stored("a"), "2");
  EXPECT_EQ(code(client_.update(kConfigMaps, ns_, changed)), ErrorCode::kConflict);

  const auto patch = [&](PatchType type, const Json& body) {
    return client_.patch(kConfigMaps, ns_, "a", type, body);
  };
  ASSERT_TRUE(patch(PatchType::kMerge, {{"data", {{"key", "3"}}}}).ok());
  EXPECT_EQ(stored("a"), "3");
  const Json operation = {{"op", "replace"}, {"path", "/data/key"}, {"value", "4"}};
  ASSERT_TRUE(patch(PatchType::kJson, Json::array({operation})).ok());
  EXPECT_EQ(stored("a"), "4");
  ASSERT_TRUE(patch(PatchType::kStrategic, {{"data", {{"key", "5"}}}}).ok());
  EXPECT_EQ(stored("a"), "5");

  EXPECT_TRUE(*client_.remove(kConfigMaps, ns_, "a"));
  EXPECT_EQ(code(client_.get(kConfigMaps, ns_, "a")), ErrorCode::kNotFound);
  EXPECT_FALSE(*client_.remove(kConfigMaps, ns_, "a"));
}

TEST_F(ClientAndServer, WhatTheServerRefusesIsSaid) {
  const auto refused = client_.create(kConfigMaps, ns_, config_map("Not A Name"));
  EXPECT_EQ(code(refused), ErrorCode::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr("metadata.name"));
  EXPECT_EQ(code(client_.create(kConfigMaps, "no-such-namespace", {{"metadata", {{"name", "a"}}}})),
            ErrorCode::kNotFound);
}

TEST_F(ClientAndServer, ADryRunStoresNothing) {
  ASSERT_TRUE(client_.create(kConfigMaps, ns_, config_map("a"), {.dry_run = true}).ok());
  EXPECT_EQ(code(client_.get(kConfigMaps, ns_, "a")), ErrorCode::kNotFound);
  created("a");
  const Json change = {{"data", {{"key", "2"}}}};
  ASSERT_TRUE(
      client_.patch(kConfigMaps, ns_, "a", PatchType::kMerge, change, {.dry_run = true}).ok());
  EXPECT_EQ(stored("a"), "1");
  EXPECT_TRUE(*client_.remove(kConfigMaps, ns_, "a", {.dry_run = true}));
  EXPECT_EQ(stored("a"), "1");
}

TEST_F(ClientAndServer, PreconditionsHold) {
  const Json first = created("a");
  const std::string uid = first["metadata"]["uid"];
  const std::string version = first["metadata"]["resourceVersion"];
  const auto patch = [&](const Json& metadata) {
    return client_.patch(kConfigMaps, ns_, "a", PatchType::kMerge,
                         {{"metadata", metadata}, {"data", {{"key", "2"}}}});
  };
  EXPECT_EQ(code(patch({{"uid", "another"}})), ErrorCode::kConflict);
  EXPECT_EQ(code(patch({{"resourceVersion", "1"}})), ErrorCode::kConflict);
  EXPECT_EQ(stored("a"), "1");
  EXPECT_TRUE(patch({{"uid", uid}, {"resourceVersion", version}}).ok());
  EXPECT_EQ(stored("a"), "2");

  EXPECT_EQ(code(client_.remove(kConfigMaps, ns_, "a", {.uid = "another"})), ErrorCode::kConflict);
  EXPECT_EQ(code(client_.remove(kConfigMaps, ns_, "a", {.resource_version = version})),
            ErrorCode::kConflict);
  EXPECT_TRUE(*client_.remove(kConfigMaps, ns_, "a", {.uid = uid}));
}

TEST_F(ClientAndServer, ApplyKeepsApartWhoOwnsAField) {
  const auto apply = [&](const std::string& manager, const std::string& value, bool force) {
    return client_.patch(kConfigMaps, ns_, "a", PatchType::kApply, config_map("a", value),
                         {.field_manager = manager, .force = force});
  };
  ASSERT_TRUE(apply("one", "1", false).ok());
  ASSERT_TRUE(apply("one", "2", false).ok());
  const auto other = apply("other", "3", false);
  EXPECT_EQ(code(other), ErrorCode::kConflict);
  EXPECT_THAT(other.error().message, HasSubstr(".data.key"));
  ASSERT_TRUE(apply("other", "3", true).ok());
  EXPECT_EQ(stored("a"), "3");
}

TEST_F(ClientAndServer, AStatusIsAppliedBesideTheSpec) {
  const std::string name = "node-" + ns_;
  ASSERT_TRUE(client_.create(kNodes, "", {{"metadata", {{"name", name}}}}).ok());
  Json status = {{"metadata", {{"name", name}}},
                 {"spec", {{"unschedulable", true}}},
                 {"status", {{"capacity", {{"cpu", "3"}}}}}};
  const auto applied =
      client_.patch(kNodes, "", name, PatchType::kApply, status,
                    {.field_manager = "us", .subresource = "status", .force = true});
  ASSERT_TRUE(applied.ok()) << applied.error().message;
  EXPECT_EQ(applied->at("status").at("capacity").at("cpu"), "3");
  EXPECT_FALSE(applied->value("/spec/unschedulable"_json_pointer, false));
  // With the resource version it is a compare-and-swap.
  status["metadata"]["resourceVersion"] = "1";
  EXPECT_EQ(code(client_.patch(kNodes, "", name, PatchType::kApply, status,
                               {.field_manager = "us", .subresource = "status", .force = true})),
            ErrorCode::kConflict);
  EXPECT_TRUE(*client_.remove(kNodes, "", name));
}

TEST_F(ClientAndServer, AListComesInPages) {
  for (int i = 0; i < 7; ++i) {
    Json object = config_map("c" + std::to_string(i));
    object["metadata"]["labels"] = {{"even", i % 2 == 0 ? "yes" : "no"}};
    ASSERT_TRUE(client_.create(kConfigMaps, ns_, object).ok());
  }
  std::vector<std::size_t> pages;
  const auto version = client_.list_pages(
      kConfigMaps, ns_, {.page_size = 3},
      [&](const std::vector<Json>& items, bool) { pages.push_back(items.size()); });
  ASSERT_TRUE(version.ok()) << version.error().message;
  EXPECT_THAT(pages, ElementsAre(3, 3, 1));

  const auto even = client_.list(kConfigMaps, "", {.label_selector = "even=yes", .page_size = 1});
  ASSERT_TRUE(even.ok());
  EXPECT_THAT(even->items, SizeIs(4));
  EXPECT_EQ(even->items[0]["kind"], "ConfigMap");
  const auto one = client_.list(kConfigMaps, ns_, {.field_selector = "metadata.name=c3"});
  ASSERT_TRUE(one.ok());
  EXPECT_THAT(one->items, SizeIs(1));
}

TEST_F(ClientAndServer, AWatchTellsWhatComesAfterAList) {
  created("before");
  const auto all = client_.list(kConfigMaps, ns_);
  ASSERT_TRUE(all.ok());
  const Json made = created("a");
  ASSERT_TRUE(
      client_.patch(kConfigMaps, ns_, "a", PatchType::kMerge, {{"data", {{"key", "2"}}}}).ok());
  ASSERT_TRUE(*client_.remove(kConfigMaps, ns_, "a"));
  EXPECT_THAT(watched({.resource_version = all->resource_version}, "DELETED a"),
              ElementsAre("ADDED a", "MODIFIED a", "DELETED a"));
}

TEST_F(ClientAndServer, AWatchBeginsWithEverythingAndABookmark) {
  created("a");
  created("b");
  std::vector<std::string> events;
  std::string end;
  const auto done = client_.watch(kConfigMaps, ns_, {.send_initial_events = true},
                                  [&](const Json& event) {
                                    events.push_back(event["type"]);
                                    if (event["type"] != "BOOKMARK") return true;
                                    end = event["object"]["metadata"]["annotations"].value(
                                        "k8s.io/initial-events-end", "");
                                    return false;
                                  },
                                  {});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_THAT(events, ElementsAre("ADDED", "ADDED", "BOOKMARK"));
  EXPECT_EQ(end, "true");
}

TEST_F(ClientAndServer, AWatchEndsAsItsTimeoutSays) {
  const auto all = client_.list(kConfigMaps, ns_);
  ASSERT_TRUE(all.ok());
  const auto done =
      client_.watch(kConfigMaps, ns_,
                    {.resource_version = all->resource_version, .timeout = std::chrono::seconds(1)},
                    [](const Json&) { return true; }, {});
  EXPECT_TRUE(done.ok()) << done.error().message;
}

TEST_F(ClientAndServer, AWatchEndsWhenAsked) {
  std::stop_source stop;
  std::promise<void> first;
  auto watching = std::async(std::launch::async, [&] {
    return client_.watch(
        kConfigMaps, ns_, {.send_initial_events = true},
        [&](const Json& event) {
          if (event["type"] == "BOOKMARK") first.set_value();
          return true;
        },
        stop.get_token());
  });
  first.get_future().wait();
  stop.request_stop();
  EXPECT_EQ(code(watching.get()), ErrorCode::kCancelled);
}

TEST_F(ClientAndServer, AWatchFromAStateThatIsForgottenIsGone) {
  // The server knows nothing of a custom resource from before it was defined.
  const Json schema = {{"openAPIV3Schema", {{"type", "object"}}}};
  const Json version = {{"name", "v1"}, {"served", true}, {"storage", true}, {"schema", schema}};
  const Json definition = {{"metadata", {{"name", "trials.test.transship.dev"}}},
                           {"spec",
                            {{"group", "test.transship.dev"},
                             {"scope", "Namespaced"},
                             {"names", {{"plural", "trials"}, {"kind", "Trial"}}},
                             {"versions", Json::array({version})}}}};
  const auto defined = client_.create(kCustomResourceDefinitions, "", definition);
  ASSERT_TRUE(defined.ok()) << defined.error().message;
  const auto served = client_.watch(
      kCustomResourceDefinitions, "",
      {.field_selector = "metadata.name=trials.test.transship.dev", .send_initial_events = true},
      [](const Json& event) {
        const Json conditions =
            event["object"].value("/status/conditions"_json_pointer, Json::array());
        return std::none_of(conditions.begin(), conditions.end(), [](const Json& condition) {
          return condition["type"] == "Established" && condition["status"] == "True";
        });
      },
      {});
  ASSERT_TRUE(served.ok()) << served.error().message;

  const Resource trials{"test.transship.dev", "v1", "trials", "Trial"};
  std::optional<Error> error;
  const auto on_event = [&](const Json& event) {
    if (event["type"] == "ERROR") error = status_error(event["object"], "watch");
    return true;
  };
  // Until its storage is ready the server answers 429.
  while (!error || error->code == ErrorCode::kUnavailable) {
    const auto done = client_.watch(trials, ns_, {.resource_version = "1"}, on_event, {});
    if (!done.ok()) error = done.error();
  }
  EXPECT_EQ(error->code, ErrorCode::kGone) << error->message;
}

TEST_F(ClientAndServer, LogsOfAPodThatIsNotThereAreNotFound) {
  EXPECT_EQ(code(client_.logs(ns_, "no-such-pod", "main", 10)), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace transship::kube
