#include "kube/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/status_error.h"
#include "tests/fakes/kube/fake_transport.h"

namespace transship::kube {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

Json failure(int status, const std::string& reason, const std::string& message = "no") {
  return {{"kind", "Status"}, {"code", status}, {"reason", reason}, {"message", message}};
}

Json pod(const std::string& name) { return {{"metadata", {{"name", name}}}}; }

Json page(const std::vector<std::string>& names, const std::string& next, const std::string& rv) {
  Json items = Json::array();
  for (const std::string& name : names) items.push_back(pod(name));
  return {{"kind", "PodList"},
          {"metadata", {{"continue", next}, {"resourceVersion", rv}}},
          {"items", items}};
}

class Observer : public RequestObserver {
 public:
  void on_request(std::string_view method, std::string_view host, int status) override {
    seen.push_back(std::string(method) + " " + std::string(host) + " " + std::to_string(status));
  }
  std::vector<std::string> seen;
};

class ClientTest : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> asked() const {
    std::vector<std::string> lines;
    for (const Request& request : server_->requests) {
      lines.push_back(request.method + " " + request.target);
    }
    return lines;
  }
  [[nodiscard]] const Request& last() const { return server_->requests.back(); }
  [[nodiscard]] Json sent() const { return Json::parse(last().body); }

  Observer observer_;
  std::vector<milliseconds> waits_;
  std::shared_ptr<FakeTransport> server_ = std::make_shared<FakeTransport>();
  Client client_{server_,
                 {.host = "server:443",
                  .observer = &observer_,
                  .read_attempts = 3,
                  .retry_delay = milliseconds(100),
                  .wait = [this](milliseconds delay) { waits_.push_back(delay); }}};
};

TEST(Resource, PathsAreEncodedAndLeaveOutWhatIsEmpty) {
  EXPECT_EQ(kPods.path("ns", "a"), "/api/v1/namespaces/ns/pods/a");
  EXPECT_EQ(kPods.path(""), "/api/v1/pods");
  EXPECT_EQ(kNodes.path("ignored", "node-a"), "/api/v1/nodes/node-a");
  EXPECT_EQ(kJobs.path("ns"), "/apis/batch/v1/namespaces/ns/jobs");
  EXPECT_EQ(kPods.path("a/b", "../c d"), "/api/v1/namespaces/a%2Fb/pods/..%2Fc%20d");
  EXPECT_EQ(kContainerMigrations.api_version(), "transship.dev/v1alpha1");
  EXPECT_EQ(kPods.api_version(), "v1");
}

TEST(StatusError, EachStatusHasItsCode) {
  const std::vector<std::tuple<int, std::string, ErrorCode>> table = {
      {400, "BadRequest", ErrorCode::kInvalid},
      {401, "Unauthorized", ErrorCode::kForbidden},
      {403, "Forbidden", ErrorCode::kForbidden},
      {404, "NotFound", ErrorCode::kNotFound},
      {405, "MethodNotAllowed", ErrorCode::kInvalid},
      {409, "AlreadyExists", ErrorCode::kAlreadyExists},
      {409, "Conflict", ErrorCode::kConflict},
      {410, "Expired", ErrorCode::kGone},
      {422, "Invalid", ErrorCode::kInvalid},
      {429, "TooManyRequests", ErrorCode::kUnavailable},
      {500, "InternalError", ErrorCode::kUnavailable},
      {503, "ServiceUnavailable", ErrorCode::kUnavailable},
      {504, "Timeout", ErrorCode::kTimeout},
  };
  for (const auto& [status, reason, code] : table) {
    const Error error =
        status_error(Response{.status = status, .body = failure(status, reason).dump()}, "GET /x");
    EXPECT_EQ(error.code, code) << status << reason;
    EXPECT_EQ(error.message, "GET /x: HTTP " + std::to_string(status) + " " + reason + ": no");
  }
}

TEST(StatusError, TakesWhatIsNoStatusAndBoundsIt) {
  const Error error = status_error(Response{.status = 502, .body = "<html>"}, "GET /x");
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_EQ(error.message, "GET /x: HTTP 502: <html>");
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "ä";
  const Error longer = status_error(failure(400, "BadRequest", text), "GET /x");
  EXPECT_LE(longer.message.size(), 2048U);
  EXPECT_NO_THROW((void)Json(longer.message).dump());  // throws at half of a character
}

TEST(StatusError, RetryAfterComesFromTheHeaderOrTheBody) {
  Json status = failure(429, "TooManyRequests");
  status["details"] = {{"retryAfterSeconds", 3}};
  EXPECT_EQ(status_error(status, "x").retry_after_seconds, 3);
  const Response answer{.status = 429, .body = status.dump(), .retry_after_seconds = 9};
  EXPECT_EQ(status_error(answer, "x").retry_after_seconds, 9);
}

TEST_F(ClientTest, GetGivesTheObjectOrSaysWhyNot) {
  server_->answer(200, pod("a")).answer(404, failure(404, "NotFound"));
  EXPECT_EQ(*client_.get(kPods, "ns", "a"), pod("a"));
  const auto none = client_.get(kPods, "ns", "b");
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(none.error().message, "GET /api/v1/namespaces/ns/pods/b: HTTP 404 NotFound: no");
  EXPECT_THAT(observer_.seen, ElementsAre("GET server:443 200", "GET server:443 404"));
}

TEST_F(ClientTest, AnEmptyNameIsNotTheWholeCollection) {
  EXPECT_EQ(client_.get(kPods, "ns", "").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(client_.remove(kPods, "ns", "").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(client_.update(kPods, "ns", Json::object()).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(client_.patch(kPods, "ns", "", PatchType::kMerge, {}).error().code,
            ErrorCode::kInvalid);
  EXPECT_THAT(asked(), ElementsAre());
}

TEST_F(ClientTest, AnAnswerThatIsNoJsonIsAnError) {
  server_->answer(Response{.status = 200, .body = "<html>"});
  EXPECT_EQ(client_.get(kPods, "ns", "a").error().code, ErrorCode::kUnavailable);
}

TEST_F(ClientTest, AReadIsTriedAgainWhileTheServerIsBusy) {
  server_->answer(503, failure(503, "ServiceUnavailable"))
      .answer(Error{ErrorCode::kUnavailable, "refused"})
      .answer(200, pod("a"));
  EXPECT_TRUE(client_.get(kPods, "ns", "a").ok());
  ASSERT_THAT(waits_, SizeIs(2));
  EXPECT_TRUE(waits_[0] >= milliseconds(50) && waits_[0] <= milliseconds(100));
  EXPECT_TRUE(waits_[1] >= milliseconds(100) && waits_[1] <= milliseconds(200));
  EXPECT_THAT(observer_.seen,
              ElementsAre("GET server:443 503", "GET server:443 0", "GET server:443 200"));
}

TEST_F(ClientTest, AReadIsGivenUpAfterSomeTries) {
  for (int i = 0; i < 4; ++i) server_->answer(429, failure(429, "TooManyRequests"), 2);
  const auto busy = client_.get(kPods, "ns", "a");
  ASSERT_FALSE(busy.ok());
  EXPECT_EQ(busy.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(busy.error().retry_after_seconds, 2);
  EXPECT_THAT(asked(), SizeIs(3));
  EXPECT_THAT(waits_, ElementsAre(milliseconds(2000), milliseconds(2000)));
}

TEST_F(ClientTest, ALongRetryAfterIsLeftToTheCaller) {
  server_->answer(429, failure(429, "TooManyRequests"), 60);
  EXPECT_EQ(client_.get(kPods, "ns", "a").error().retry_after_seconds, 60);
  EXPECT_THAT(waits_, ElementsAre());
}

TEST_F(ClientTest, WhatHelpsNobodyIsNotTriedAgain) {
  for (const ErrorCode code : {ErrorCode::kTimeout, ErrorCode::kInvalid}) {
    server_->answer(Error{code, "no"});
    EXPECT_EQ(client_.get(kPods, "ns", "a").error().code, code);
  }
  EXPECT_THAT(waits_, ElementsAre());
}

TEST_F(ClientTest, AWriteIsSentOnce) {
  for (int i = 0; i < 4; ++i) server_->answer(503, failure(503, "ServiceUnavailable"));
  EXPECT_FALSE(client_.create(kPods, "ns", pod("a")).ok());
  EXPECT_FALSE(client_.update(kPods, "ns", pod("a")).ok());
  EXPECT_FALSE(client_.patch(kPods, "ns", "a", PatchType::kMerge, pod("a")).ok());
  EXPECT_FALSE(client_.remove(kPods, "ns", "a").ok());
  EXPECT_THAT(asked(), SizeIs(4));
}

TEST_F(ClientTest, ListReadsAllPages) {
  server_->answer(200, page({"a", "b"}, "next+1", "7")).answer(200, page({"c"}, "", "7"));
  const auto all = client_.list(
      kPods, "ns",
      {.label_selector = "app=db", .field_selector = "spec.nodeName=n", .page_size = 2});
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_EQ(all->resource_version, "7");
  ASSERT_THAT(all->items, SizeIs(3));
  EXPECT_EQ(all->items[2]["metadata"]["name"], "c");
  EXPECT_EQ(all->items[2]["kind"], "Pod");
  EXPECT_EQ(all->items[2]["apiVersion"], "v1");
  const std::string first =
      "GET /api/v1/namespaces/ns/pods?labelSelector=app%3Ddb&fieldSelector=spec.nodeName%3Dn"
      "&limit=2";
  EXPECT_THAT(asked(), ElementsAre(first, first + "&continue=next%2B1"));
}

TEST_F(ClientTest, AListThatIsForgottenHalfWayIsReadAgain) {
  server_->answer(200, page({"old"}, "next", "1"))
      .answer(410, failure(410, "Expired"))
      .answer(200, page({"a"}, "next", "9"))
      .answer(200, page({"b"}, "", "9"));
  const auto all = client_.list(kPods, "");
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->resource_version, "9");
  ASSERT_THAT(all->items, SizeIs(2));
  EXPECT_EQ(all->items[0]["metadata"]["name"], "a");
}

TEST_F(ClientTest, AListThatIsForgottenTwiceIsAnError) {
  for (int i = 0; i < 2; ++i) {
    server_->answer(200, page({"a"}, "next", "1")).answer(410, failure(410, "Expired"));
  }
  EXPECT_EQ(client_.list(kPods, "").error().code, ErrorCode::kGone);
}

TEST_F(ClientTest, AnEmptyListMayBeNull) {
  server_->answer(200, {{"metadata", {{"resourceVersion", "3"}}}, {"items", nullptr}});
  const auto none = client_.list(kPods, "");
  ASSERT_TRUE(none.ok());
  EXPECT_THAT(none->items, SizeIs(0));
}

TEST_F(ClientTest, CreatePostsTheObjectWithItsKind) {
  server_->answer(201, pod("a")).answer(201, pod("a"));
  ASSERT_TRUE(client_.create(kPods, "ns", pod("a"), {.dry_run = true, .field_manager = "us"}).ok());
  EXPECT_EQ(sent(), Json({{"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", {{"name", "a"}}}}));
  EXPECT_EQ(last().content_type, "application/json");
  ASSERT_TRUE(client_.create(kPods, "ns", pod("a"), {.subresource = "eviction"}).ok());
  EXPECT_THAT(asked(), ElementsAre("POST /api/v1/namespaces/ns/pods?dryRun=All&fieldManager=us",
                                   "POST /api/v1/namespaces/ns/pods/a/eviction"));
}

TEST_F(ClientTest, UpdatePutsTheObjectOrASubresource) {
  server_->answer(200, pod("a"));
  ASSERT_TRUE(client_.update(kPods, "ns", pod("a"), {.subresource = "status"}).ok());
  EXPECT_THAT(asked(), ElementsAre("PUT /api/v1/namespaces/ns/pods/a/status"));
}

TEST_F(ClientTest, PatchSaysHowTheBodyIsRead) {
  const std::vector<std::pair<PatchType, std::string>> table = {
      {PatchType::kJson, "application/json-patch+json"},
      {PatchType::kMerge, "application/merge-patch+json"},
      {PatchType::kStrategic, "application/strategic-merge-patch+json"},
      {PatchType::kApply, "application/apply-patch+yaml"}};
  for (const auto& [type, content_type] : table) {
    server_->answer(200, pod("a"));
    ASSERT_TRUE(client_
                    .patch(kPods, "ns", "a", type, Json::object(),
                           {.field_manager = "us", .subresource = "status", .force = true})
                    .ok());
    EXPECT_EQ(last().content_type, content_type);
    const bool apply = type == PatchType::kApply;
    EXPECT_EQ(last().target, std::string("/api/v1/namespaces/ns/pods/a/status?fieldManager=us") +
                                 (apply ? "&force=true" : ""));
    EXPECT_EQ(sent().contains("kind"), apply);
  }
  EXPECT_EQ(client_.patch(kPods, "ns", "a", PatchType::kApply, {}).error().code,
            ErrorCode::kInvalid);
}

TEST_F(ClientTest, AnotherUidInAPatchIsAConflict) {
  const Json refused = failure(422, "Invalid", "metadata.uid: Invalid value: field is immutable");
  server_->answer(422, refused).answer(422, refused).answer(422, failure(422, "Invalid", "spec"));
  const Json with_uid = {{"metadata", {{"uid", "another"}}}};
  const auto patch = [&](const Json& body) {
    return client_.patch(kPods, "ns", "a", PatchType::kMerge, body).error().code;
  };
  EXPECT_EQ(patch(with_uid), ErrorCode::kConflict);
  EXPECT_EQ(patch(Json::object()), ErrorCode::kInvalid);
  EXPECT_EQ(patch(with_uid), ErrorCode::kInvalid);
}

TEST_F(ClientTest, RemoveSendsItsPreconditions) {
  server_->answer(200, pod("a")).answer(404, failure(404, "NotFound"));
  EXPECT_TRUE(*client_.remove(kPods, "ns", "a",
                              {.uid = "u",
                               .resource_version = "5",
                               .grace_period_seconds = 0,
                               .propagation_policy = "Background",
                               .dry_run = true}));
  EXPECT_EQ(sent(), Json({{"apiVersion", "v1"},
                          {"kind", "DeleteOptions"},
                          {"preconditions", {{"uid", "u"}, {"resourceVersion", "5"}}},
                          {"gracePeriodSeconds", 0},
                          {"propagationPolicy", "Background"},
                          {"dryRun", Json::array({"All"})}}));
  EXPECT_FALSE(*client_.remove(kPods, "ns", "a"));
  EXPECT_EQ(sent(), Json({{"apiVersion", "v1"}, {"kind", "DeleteOptions"}}));
}

TEST_F(ClientTest, WatchHandsOverEvents) {
  const Json added = {{"type", "ADDED"}, {"object", pod("a")}};
  const Json expired = {{"type", "ERROR"}, {"object", failure(410, "Expired")}};
  server_->lines({added.dump(), expired.dump()}).answer(Response{.status = 200});
  std::vector<Json> events;
  const auto done = client_.watch(
      kPods, "",
      {.label_selector = "a=b", .resource_version = "7", .timeout = std::chrono::seconds(60)},
      [&](Json event) {
        events.push_back(std::move(event));
        return true;
      },
      {});
  EXPECT_TRUE(done.ok());
  EXPECT_THAT(events, ElementsAre(added, expired));
  EXPECT_THAT(asked(), ElementsAre("GET /api/v1/pods?watch=true&allowWatchBookmarks=true"
                                   "&labelSelector=a%3Db&resourceVersion=7&timeoutSeconds=60"));
  EXPECT_GT(last().timeout, std::chrono::seconds(60));
}

TEST_F(ClientTest, WatchMayBeginWithEverything) {
  server_->answer(Response{.status = 200});
  const auto done = client_.watch(kPods, "ns", {.send_initial_events = true},
                                  [](const Json&) { return true; }, {});
  EXPECT_TRUE(done.ok());
  EXPECT_THAT(last().target,
              HasSubstr("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"));
}

TEST_F(ClientTest, WatchEndsAsTheReaderTheServerOrTheCallerWants) {
  const auto watch = [&](bool more, const std::stop_token& stop = {}) {
    return client_.watch(
        kPods, "", {}, [more](const Json&) { return more; }, stop);
  };
  const std::string event = Json({{"type", "ADDED"}, {"object", pod("a")}}).dump();
  server_->lines({event, "the reader has gone before this"});
  EXPECT_TRUE(watch(false).ok());

  EXPECT_EQ(watch(true).error().code, ErrorCode::kUnavailable);  // no event

  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(watch(true, stop.get_token()).error().code, ErrorCode::kCancelled);

  server_->lines({}).answer(410, failure(410, "Expired"));
  EXPECT_EQ(watch(true).error().code, ErrorCode::kGone);
}

TEST_F(ClientTest, LogsAreTheLastLines) {
  server_->answer(Response{.status = 200, .body = "one\ntwo\n"});
  EXPECT_EQ(*client_.logs("ns", "a", "main", 20), "one\ntwo\n");
  EXPECT_THAT(last().target, HasSubstr("/pods/a/log?container=main&tailLines=20&limitBytes="));
}

TEST_F(ClientTest, DiscoveryTellsWhatIsServed) {
  const Json group = {{"resources", {{{"name", "jobs"}}, {{"name", "jobs/status"}}}}};
  server_->answer(200, group).answer(200, {{"resources", nullptr}});
  server_->answer(404, failure(404, "NotFound")).answer(403, failure(403, "Forbidden"));
  EXPECT_TRUE(*client_.serves(kJobs));
  EXPECT_FALSE(*client_.serves(kJobs));
  EXPECT_FALSE(*client_.serves(kJobs));
  EXPECT_EQ(client_.serves(kJobs).error().code, ErrorCode::kForbidden);
  EXPECT_THAT(asked(), testing::Each("GET /apis/batch/v1"));
}

TEST_F(ClientTest, TheServerSaysItsVersion) {
  server_->answer(200, {{"gitVersion", "v1.36.0"}});
  EXPECT_EQ(*client_.server_version(), "v1.36.0");
}

}  // namespace
}  // namespace transship::kube
