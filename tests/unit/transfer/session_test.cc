// Sessions of several volumes: both ends know what happened.
#include <random>
#include <thread>

#include "cutting_proxy.h"
#include "hostile_tree.h"
#include "judge.h"
#include "tls_fixture.h"
#include "transfer/send_session.h"

namespace transship::transfer {
namespace {

using Outcomes = Result<std::vector<VolumeOutcome>>;

class SessionTest : public TlsTest {
 protected:
  void SetUp() override {
    TlsTest::SetUp();
    shell(scratch_.path(), "mkdir from to");
  }

  // A volume of this name at both ends.
  void add_volume(const std::string& name) {
    from_.push_back(scratch_.open("from/" + name));
    to_.push_back(scratch_.open("to/" + name));
    outgoing_.push_back({name, from_.back().get(), {}, &sent_});
    incoming_.push_back({name, to_.back().get(), {}, &received_});
  }

  void run() {
    for (SessionVolume& volume : outgoing_) {
      auto totals = scan_tree(volume.directory);
      ASSERT_TRUE(totals.ok());
      if (announces_) volume.announced = *totals;
    }
    auto receiving = std::async(std::launch::async, [&] {
      Outcomes outcomes = receive_session(*receiver_, receiver_identity_, incoming_, options_);
      receiver_.reset();
      return outcomes;
    });
    sender_outcomes_ = send_session(*sender_, {"m", 1}, outgoing_);
    sender_.reset();
    receiver_outcomes_ = receiving.get();
  }

  void expect_failure(const Outcomes& outcomes, ErrorCode code, const std::string& part) {
    ASSERT_FALSE(outcomes.ok());
    EXPECT_EQ(outcomes.error().code, code) << outcomes.error().message;
    EXPECT_NE(outcomes.error().message.find(part), std::string::npos) << outcomes.error().message;
  }

  SessionIdentity receiver_identity_{"m", 1};
  SessionOptions options_;
  bool announces_ = true;
  Progress sent_;
  Progress received_;
  std::vector<UniqueFd> from_;
  std::vector<UniqueFd> to_;
  std::vector<SessionVolume> outgoing_;
  std::vector<SessionVolume> incoming_;
  Outcomes sender_outcomes_ = Error{};
  Outcomes receiver_outcomes_ = Error{};
};

TEST_F(SessionTest, SeveralVolumesArriveAndBothEndsKnow) {
  connect_both();
  for (const char* name : {"data", "logs", "empty"}) add_volume(name);
  std::reverse(incoming_.begin(), incoming_.end());
  make_hostile_tree(scratch_.path("from/data"));
  make_random_tree(scratch_.path("from/logs"), 7);
  run();
  ASSERT_TRUE(sender_outcomes_.ok()) << sender_outcomes_.error().message;
  ASSERT_TRUE(receiver_outcomes_.ok()) << receiver_outcomes_.error().message;
  ASSERT_EQ(sender_outcomes_->size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    const VolumeOutcome& mine = (*sender_outcomes_)[i];
    const VolumeOutcome& theirs = (*receiver_outcomes_)[i];
    EXPECT_EQ(mine.name, theirs.name);
    EXPECT_EQ(mine.sent.digest, mine.verified.digest);
    EXPECT_EQ(mine.sent.digest, theirs.sent.digest);
    EXPECT_EQ(mine.sent.digest, theirs.verified.digest);
    EXPECT_EQ(mine.sent.totals, theirs.verified.totals);
    EXPECT_EQ(differences(scratch_.path("from/" + mine.name), scratch_.path("to/" + mine.name)),
              "");
  }
}

TEST_F(SessionTest, AnnouncementsAndProgressAreSeen) {
  connect_both();
  add_volume("data");
  make_random_tree(scratch_.path("from/data"), 3);
  run();
  ASSERT_TRUE(sender_outcomes_.ok()) << sender_outcomes_.error().message;
  const TreeTotals totals = sender_outcomes_->front().sent.totals;
  EXPECT_EQ(received_.announced_bytes, totals.bytes);
  EXPECT_EQ(received_.announced_entries, totals.entries);
  EXPECT_EQ(received_.bytes, totals.bytes);
  EXPECT_EQ(sent_.bytes, totals.bytes);
  EXPECT_EQ(received_.verified_entries, totals.entries);
}

TEST_F(SessionTest, AnUpperDirectoryIsTakenAsOneOnlyWhereBothEndsSaySo) {
  for (const bool there : {false, true}) {
    connect_both();
    outgoing_.clear();
    incoming_.clear();
    add_volume("data");
    scratch_.write("from/data/file", "x");
    outgoing_.front().overlay = !there;
    incoming_.front().overlay = there;
    run();
    expect_failure(sender_outcomes_, ErrorCode::kForbidden, "refused");
    expect_failure(receiver_outcomes_, ErrorCode::kForbidden, "refused");
    EXPECT_EQ(shell(scratch_.path("to"), "ls data").output, "");
  }
}

TEST_F(SessionTest, AnotherMigrationEpochOrVolumeIsRefusedAndNothingTouched) {
  const std::vector<std::pair<SessionIdentity, std::string>> receivers = {
      {{"other", 1}, "data"}, {{"m", 2}, "data"}, {{"m", 1}, "elsewhere"}};
  for (const auto& [identity, volume] : receivers) {
    connect_both();
    outgoing_.clear();
    incoming_.clear();
    add_volume("data");
    scratch_.write("from/data/file", "x");
    incoming_.front().name = volume;
    receiver_identity_ = identity;
    run();
    expect_failure(sender_outcomes_, ErrorCode::kForbidden, "refused");
    expect_failure(receiver_outcomes_, ErrorCode::kForbidden, "refused");
    EXPECT_EQ(shell(scratch_.path("to/data"), "ls -A").output, "");
  }
}

TEST_F(SessionTest, MoreThanTheLimitsIsRefusedByNameBeforeAnythingIsTouched) {
  connect_both();
  add_volume("data");
  scratch_.write("from/data/file", "four");
  run();  // as it is
  ASSERT_TRUE(receiver_outcomes_.ok()) << receiver_outcomes_.error().message;
  for (const auto& [limits, what] :
       {std::pair(ReceiveLimits{.entries = 1}, "volume data has 2 entries, and 1 are the most"),
        std::pair(ReceiveLimits{.bytes = 3}, "volume data has 4 bytes, and 3 are the most")}) {
    connect_both();
    outgoing_.clear();
    incoming_.clear();
    shell(scratch_.path(), "rm -r to/data");
    add_volume("data");
    options_.limits = limits;
    run();
    expect_failure(sender_outcomes_, ErrorCode::kPreconditionFailed, what);
    expect_failure(receiver_outcomes_, ErrorCode::kPreconditionFailed, what);
    EXPECT_EQ(shell(scratch_.path("to/data"), "ls -A").output, "");
  }
}

TEST_F(SessionTest, WhatWasAnnouncedBoundsWhatIsTaken) {
  options_.unannounced = 3;
  for (const bool announces : {true, false}) {
    SCOPED_TRACE(announces);
    connect_both();
    outgoing_.clear();
    incoming_.clear();
    shell(scratch_.path(), "rm -rf from/data to/data");
    add_volume("data");
    shell(scratch_.path("from/data"), "touch a b c d e");
    announces_ = announces;
    run();
    EXPECT_EQ(receiver_outcomes_.ok(), announces);
    if (!announces) expect_failure(sender_outcomes_, ErrorCode::kCorrupt, "more entries");
  }
}

TEST_F(SessionTest, TheSenderLearnsWhyTheReceiverFailed) {
  connect_both();
  Scratch small;
  if (!small.mount_tmpfs("size=1m")) GTEST_SKIP() << "mounting needs privileges";
  add_volume("data");
  const UniqueFd full = small.open();
  incoming_.front().directory = full.get();
  for (int i = 0; i < 20; ++i) {
    scratch_.write("from/data/big" + std::to_string(i), std::string(2 << 20, 'x'));
  }
  run();
  expect_failure(receiver_outcomes_, ErrorCode::kNoSpace, "./big");
  expect_failure(sender_outcomes_, ErrorCode::kNoSpace, "./big");
}

TEST_F(SessionTest, ASenderThatFailsIsNoEndToTheReceiver) {
  connect_both();
  add_volume("data");
  make_random_tree(scratch_.path("from/data"), 5);
  add_volume("later");
  outgoing_.back().directory = -1;
  outgoing_.back().projects = incoming_.back().projects = false;  // it is not looked at before
  auto receiving = std::async(std::launch::async, [&] {
    return receive_session(*receiver_, receiver_identity_, incoming_, options_);
  });
  sender_outcomes_ = send_session(*sender_, {"m", 1}, outgoing_);
  EXPECT_FALSE(sender_outcomes_.ok());
  sender_.reset();
  EXPECT_FALSE(receiving.get().ok());
}

TEST_F(SessionTest, CutAnywhereNobodyTakesItForWhole) {
  std::random_device device;
  const uint32_t seed = device();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  add_volume("data");
  scratch_.write("from/data/file", std::string(300000, 'x'));
  for (int i = 0; i < 12; ++i) {
    const size_t limit = 2000 + random() % 298000;
    SCOPED_TRACE("cut after " + std::to_string(limit));
    shell(scratch_.path(), "rm -rf to/data; mkdir to/data");
    const UniqueFd to = scratch_.open("to/data");
    incoming_.front().directory = to.get();
    CuttingProxy proxy(listener_->port(), {{.from_client = limit}});
    const Until soon{{}, Until::Clock::now() + std::chrono::seconds(60)};
    auto receiving = std::async(std::launch::async, [&]() -> Outcomes {
      auto taken = listener_->accept({{}, Until::Clock::now() + std::chrono::seconds(2)});
      if (!taken.ok()) return taken.error();
      return receive_session(**taken, {"m", 1}, incoming_, {.until = soon});
    });
    auto connected = tls_connect("127.0.0.1", proxy.port, sender_options(), soon);
    Outcomes sent = Error{};
    if (connected.ok()) {
      sent = send_session(**connected, {"m", 1}, outgoing_,
                          {.until = soon, .compression = Compression::kNone});
      connected->reset();
    }
    EXPECT_FALSE(sent.ok());
    EXPECT_FALSE(receiving.get().ok());
  }
}

}  // namespace
}  // namespace transship::transfer
