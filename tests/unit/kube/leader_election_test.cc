#include "kube/leader_election.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/kube/scripted_transport.h"

namespace transship::kube {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using End = LeaderElection::End;

constexpr const char* kLease = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/lease";

// Elections in one thread: time passes only where an election waits, and `meanwhile` is what the
// world does in that time.
class LeaderElectionTest : public testing::Test {
 protected:
  LeaderElectionOptions options(const std::string& identity) {
    LeaderElectionOptions options;
    options.ns = "ns";
    options.name = "lease";
    options.identity = identity;
    options.now = [this] { return LeaderElectionOptions::Instant(now_); };
    options.wall_now = [this] { return WallTime(seconds(1700000000)) + now_; };
    options.wait = [this](const std::stop_token&, milliseconds time) {
      now_ += time;
      if (now_ > seconds(600)) stop_.request_stop();  // a story that does not end
      if (meanwhile_) meanwhile_();
    };
    return options;
  }

  End run(LeaderElection& election) {
    stop_ = std::stop_source();
    const LeaderElection::Callbacks callbacks = {
        .on_started_leading =
            [&] {
              began_leading_ = now_;
              story_.push_back(election.is_leader() ? "started" : "started?");
            },
        .on_stopped_leading =
            [&] { story_.push_back(election.is_leader() ? "stopped" : "stopped, not leading"); },
        .on_new_leader = [&](const std::string& name) { story_.push_back("leader " + name); },
    };
    const End end = election.run(stop_.get_token(), callbacks);
    EXPECT_FALSE(election.is_leader());
    return end;
  }

  void hold(const std::string& identity, const std::string& renewed) {
    Json lease = {{"metadata", {{"name", "lease"}, {"namespace", "ns"}}},
                  {"spec",
                   {{"holderIdentity", identity},
                    {"leaseDurationSeconds", 15},
                    {"acquireTime", "2020-01-01T00:00:00.000000Z"},
                    {"renewTime", renewed},
                    {"leaseTransitions", 4}}}};
    server_->set(kLease, std::move(lease));
  }
  Json spec() const { return server_->at(kLease)["spec"]; }

  std::shared_ptr<ScriptedTransport> server_ = std::make_shared<ScriptedTransport>();
  Client client_{server_, {.read_attempts = 1}};
  std::stop_source stop_;
  std::chrono::nanoseconds now_ = seconds(100);
  std::chrono::nanoseconds began_leading_{};
  std::function<void()> meanwhile_;
  std::vector<std::string> story_;
};

TEST_F(LeaderElectionTest, FirstCandidateCreatesTheLeaseRenewsItAndReleasesIt) {
  LeaderElection a(client_, options("a"));
  meanwhile_ = [&] {
    EXPECT_TRUE(a.is_leader());
    EXPECT_EQ(spec()["holderIdentity"], "a");
    EXPECT_EQ(spec()["leaseDurationSeconds"], 15);
    EXPECT_EQ(spec()["leaseTransitions"], 0);
    if (now_ >= seconds(120)) {
      EXPECT_EQ(spec()["acquireTime"], "2023-11-14T22:15:00.000000Z");
      EXPECT_EQ(spec()["renewTime"], "2023-11-14T22:15:18.000000Z");
      stop_.request_stop();
    }
  };
  EXPECT_EQ(run(a), End::kStopped);
  EXPECT_THAT(story_, ElementsAre("leader a", "started", "stopped"));
  EXPECT_EQ(spec()["holderIdentity"], "");
}

TEST_F(LeaderElectionTest, NextCandidateTakesAReleasedLeaseAtOnce) {
  hold("", "2020-01-01T00:00:00.000000Z");
  LeaderElection b(client_, options("b"));
  meanwhile_ = [&] { stop_.request_stop(); };
  EXPECT_EQ(run(b), End::kStopped);
  EXPECT_EQ(began_leading_, seconds(100));
  EXPECT_EQ(spec()["leaseTransitions"], 5);
}

TEST_F(LeaderElectionTest, SilentHolderIsReplacedAfterItsDurationWhateverItsClockSays) {
  for (const char* renewed : {"2000-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", "?"}) {
    SCOPED_TRACE(renewed);
    hold("other", renewed);
    story_.clear();
    now_ = seconds(100);
    LeaderElection b(client_, options("b"));
    meanwhile_ = [&] {
      if (!story_.empty() && story_.back() == "started") stop_.request_stop();
    };
    EXPECT_EQ(run(b), End::kStopped);
    EXPECT_THAT(story_, ElementsAre("leader other", "leader b", "started", "stopped"));
    EXPECT_GE(began_leading_, seconds(115));
    EXPECT_LE(began_leading_, milliseconds(115000 + 4400)) << "no more than one try later";
  }
}

TEST_F(LeaderElectionTest, HolderThatRenewsIsNotReplaced) {
  hold("other", "1");
  LeaderElection b(client_, options("b"));
  meanwhile_ = [&] {
    if (now_ < seconds(300)) hold("other", std::to_string(now_.count()));
    if (now_ > seconds(306)) stop_.request_stop();
  };
  EXPECT_EQ(run(b), End::kStopped);
  EXPECT_THAT(story_, ElementsAre("leader other"));
  EXPECT_EQ(spec()["holderIdentity"], "other");
}

TEST_F(LeaderElectionTest, LeaderThatSeesAnotherHolderOrNoneHasLost) {
  for (const char* identity : {"other", ""}) {
    SCOPED_TRACE(identity);
    server_->drop(kLease);
    story_.clear();
    LeaderElection a(client_, options("a"));
    meanwhile_ = [&] { hold(identity, "1"); };
    EXPECT_EQ(run(a), End::kLost);
    EXPECT_EQ(story_.back(), "stopped, not leading");
    EXPECT_EQ(spec()["holderIdentity"], identity) << "it must not touch the lease";
  }
}

TEST_F(LeaderElectionTest, LeaderThatCannotRenewGivesUpAtTheDeadline) {
  LeaderElection a(client_, options("a"));
  meanwhile_ = [&] {
    server_->before = [](const Request&) { return Error{ErrorCode::kUnavailable, "no route"}; };
    EXPECT_EQ(a.is_leader(), now_ < seconds(110));
  };
  EXPECT_EQ(run(a), End::kLost);
  EXPECT_EQ(now_, seconds(110));
  EXPECT_THAT(story_, ElementsAre("leader a", "started", "stopped, not leading"));
}

TEST_F(LeaderElectionTest, ShortOutageConflictsAndADeletedLeaseAreOvercome) {
  LeaderElection a(client_, options("a"));
  int conflicts = 0;
  // Each is shorter than the deadline, with a renewal in between.
  meanwhile_ = [&] {
    EXPECT_TRUE(a.is_leader());
    server_->before = [&](const Request& request) -> std::optional<Result<Response>> {
      if (now_ <= seconds(106)) return Result<Response>(Error{ErrorCode::kTimeout, "slow"});
      if (now_ > seconds(108) && now_ <= seconds(112) && request.method == "PUT") {
        ++conflicts;
        return Result<Response>(ScriptedTransport::failure(409, "Conflict"));
      }
      return std::nullopt;
    };
    if (now_ == seconds(118)) server_->drop(kLease);
    if (now_ == seconds(122)) stop_.request_stop();
  };
  EXPECT_EQ(run(a), End::kStopped);
  EXPECT_EQ(conflicts, 2);
  EXPECT_THAT(story_, ElementsAre("leader a", "started", "stopped"));
}

TEST_F(LeaderElectionTest, OfTwoThatTakeAnExpiredLeaseOnlyTheFirstLeads) {
  hold("dead", "1");
  server_->before = [&](const Request& request) -> std::optional<Result<Response>> {
    if (request.method == "PUT") hold("faster", "2");
    return std::nullopt;
  };
  LeaderElection b(client_, options("b"));
  meanwhile_ = [&] {
    if (now_ > seconds(125)) stop_.request_stop();
  };
  EXPECT_EQ(run(b), End::kStopped);
  EXPECT_THAT(story_, ElementsAre("leader dead", "leader faster"));
  EXPECT_EQ(spec()["holderIdentity"], "faster");
}

TEST_F(LeaderElectionTest, OfTwoThatCreateTheLeaseOnlyTheFirstLeads) {
  server_->before = [&](const Request& request) -> std::optional<Result<Response>> {
    if (request.method == "POST") hold("faster", "1");
    return std::nullopt;
  };
  LeaderElection b(client_, options("b"));
  meanwhile_ = [&] {
    if (now_ > seconds(105)) stop_.request_stop();
  };
  EXPECT_EQ(run(b), End::kStopped);
  EXPECT_THAT(story_, ElementsAre("leader faster"));
}

TEST_F(LeaderElectionTest, StopEndsARealWait) {
  auto real = options("b");
  real.wait = nullptr;
  hold("other", "1");
  stop_.request_stop();
  LeaderElection b(client_, real);
  const std::stop_token stopped = stop_.get_token();
  EXPECT_EQ(b.run(stopped, {}), End::kStopped);
  EXPECT_THAT(server_->log(), IsEmpty());
}

}  // namespace
}  // namespace transship::kube
