// What happens between the two ends of a session: neither takes a copy for whole that is not.
#include <gtest/gtest.h>

#include <random>

#include "changes.h"
#include "judge.h"
#include "relay.h"
#include "tls_fixture.h"
#include "transfer/send_session.h"

namespace transship::transfer {
namespace {

using Outcomes = Result<std::vector<VolumeOutcome>>;
using Act = Relay::Act;
using From = Relay::From;

// With always the same times, so that all runs say as much.
const std::string kSameTimes = "; find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +";
// Something of each kind, and little content, so that most of what is said is about names and
// metadata. Content of files beyond 256 KiB comes in pieces.
constexpr const char* kTree =
    "mkdir -p a/b d/e; echo 1 >a/1; echo 2 >a/b/2; ln a/1 d/one; ln -s ../a d/link; mkfifo d/fifo; "
    "mknod d/null c 1 3; mknod d/disk b 7 200; truncate -s 1M holes; "
    "printf '%3000s' x | dd of=holes bs=1 seek=400000 conv=notrunc status=none; "
    "setfattr -n user.name -v value a/1; setfattr -n trusted.t -v value d; "
    "setfattr -n system.posix_acl_default -v "
    "0x0200000001000700ffffffff04000700ffffffff20000700ffffffff a/b";
constexpr const char* kChange =
    "mv a/b d/e/b; rm d/fifo; echo 3 >a/3; ln a/3 three; echo more >>d/e/b/2; chmod 600 a/1; "
    "printf y | dd of=holes bs=1 seek=401000 conv=notrunc status=none; mkdir new; mv d new/";

class RelayedSession : public TlsTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "devices and trusted.* need root";
    TlsTest::SetUp();
  }

  // A copy in `rounds` rounds of the tree, made anew, with that on the way; both ends' words.
  void run(const Relay::Plan& plan, int rounds = 2, const char* tree = kTree,
           Until::Clock::duration patience = std::chrono::seconds(60)) {
    shell(scratch_.path(), "rm -rf from to; mkdir from to");
    ASSERT_EQ(shell(scratch_.path("from"), tree + kSameTimes).errors, "");
    before_ = describe_tree(scratch_.path("from"));
    const Until soon{{}, Until::Clock::now() + patience};
    const UniqueFd from = scratch_.open("from");
    const UniqueFd to = scratch_.open("to");
    Relay relay(scratch_.path(), listener_->port(), plan);
    const auto receive = [&]() -> Outcomes {
      auto taken = listener_->accept(soon);
      if (!taken.ok()) return taken.error();
      return receive_session(**taken, {"m", 1}, {{"data", to.get(), {}, nullptr}}, {.until = soon});
    };
    auto receiving = std::async(std::launch::async, receive);
    sent_ = send(relay.port, from.get(), rounds, soon);
    received_ = receiving.get();
    acted_ = relay.acted;
    for (size_t i = 0; i < 2; ++i) said_[i] = relay.said[i];
  }

  Outcomes send(uint16_t port, int from, int rounds, const Until& until) {
    auto stream = tls_connect("127.0.0.1", port, sender_options(), until);
    if (!stream.ok()) return stream.error();
    SendSession session(**stream, {"m", 1}, {{"data", from, {}, nullptr}},
                        {.until = until, .compression = Compression::kNone});
    TRANSSHIP_TRY(session.begin());
    for (int i = 1; i < rounds; ++i) {
      auto sent = session.round();
      if (!sent.ok()) return sent.error();
      if (shell(scratch_.path("from"), kChange + kSameTimes).status != 0) return Error{};
      before_ = describe_tree(scratch_.path("from"));
    }
    return session.finish();
  }

  // What one of the ends takes for whole is so; the source is what it was.
  void expect_no_lie() {
    if (sent_.ok() || received_.ok()) {
      EXPECT_EQ(differences(scratch_.path("from"), scratch_.path("to")), "");
    }
    EXPECT_EQ(describe_tree(scratch_.path("from")), before_);
  }

  void expect_both_fail() {
    EXPECT_TRUE(acted_);
    EXPECT_FALSE(sent_.ok());
    EXPECT_FALSE(received_.ok());
    EXPECT_EQ(describe_tree(scratch_.path("from")), before_);
  }

  // How much each end says when nothing happens.
  void measure(int rounds = 2) {
    run({}, rounds);
    ASSERT_TRUE(sent_.ok()) << sent_.error().message;
    ASSERT_TRUE(received_.ok()) << received_.error().message;
    expect_no_lie();
  }

  Outcomes sent_ = Error{};
  Outcomes received_ = Error{};
  bool acted_ = false;
  size_t said_[2] = {};
  std::map<std::string, std::string> before_;  // the last round
};

TEST_F(RelayedSession, NoTurnedBitGoesUnnoticed) {
  measure();
  const size_t length = said_[0];
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int refused = 0;
  constexpr int kRuns = 60;
  for (int i = 0; i < kRuns; ++i) {
    // Everywhere, not twice at one place.
    const size_t at = (length - 64) * static_cast<size_t>(i) / kRuns + random() % 64;
    const unsigned bit = random() % 8;
    SCOPED_TRACE("byte " + std::to_string(at) + " bit " + std::to_string(bit));
    // A length that is turned into a longer one has the receiver wait for more.
    run({Act::kFlip, From::kSender, at, "", bit}, 2, kTree, std::chrono::seconds(1));
    expect_no_lie();
    if (!sent_.ok() && !received_.ok()) ++refused;
    if (HasFailure()) break;
  }
  EXPECT_GT(refused, kRuns / 2);
}

// Of what the volume digest does not have.
TEST_F(RelayedSession, NoTurnedBitOfAnAttributeOrADeviceGoesUnnoticed) {
  // The disk's numbers end with 200, which takes two bytes.
  for (const char* text : {"user.name", "user.name\5value", "trusted.t", "\7\xc8\1"}) {
    SCOPED_TRACE(text);
    run({Act::kFlip, From::kSender, 0, text, 1}, 1);
    EXPECT_TRUE(acted_);
    ASSERT_FALSE(sent_.ok());
    EXPECT_EQ(sent_.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(sent_.error().message.find("device numbers"), std::string::npos)
        << sent_.error().message;
    EXPECT_FALSE(received_.ok());
  }
}

TEST_F(RelayedSession, NoTurnedBitOfTheReceiversWordIsBelieved) {
  measure();
  int refused = 0;
  const size_t length = said_[1];
  for (size_t at = 0; at < length; at += 11) {
    SCOPED_TRACE("byte " + std::to_string(at));
    run({Act::kFlip, From::kReceiver, at, "", 1}, 2, kTree, std::chrono::seconds(1));
    expect_no_lie();
    if (!sent_.ok()) ++refused;
  }
  EXPECT_GT(refused, 8);
}

class Ends : public RelayedSession, public ::testing::WithParamInterface<std::pair<Act, From>> {};

// By close_notify, as if all had been said, or just so.
TEST_P(Ends, AnywhereNobodyTakesItForWhole) {
  const auto [act, from] = GetParam();
  measure();
  const size_t length = said_[from == From::kReceiver ? 1 : 0];
  constexpr size_t kRuns = 14;
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (size_t i = 0; i < kRuns; ++i) {
    // Frames' heads and ends among them: the last ones are the smallest.
    const size_t back = i < 6 ? i : random() % (length - 10);
    const size_t at = i < 10 ? length - 1 - back : random() % 200 % (length - 10);
    SCOPED_TRACE("byte " + std::to_string(at) + " of " + std::to_string(length));
    run({act, from, at});
    // The last byte of the sender is the agreement's; what the sender does not hear any more is
    // whether it came.
    if (from == From::kSender && at + 16 > length) {
      EXPECT_FALSE(received_.ok());
      expect_no_lie();
    } else {
      expect_both_fail();
    }
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Relayed, Ends,
                         ::testing::Values(std::pair{Act::kClose, From::kSender},
                                           std::pair{Act::kClose, From::kReceiver},
                                           std::pair{Act::kCut, From::kSender},
                                           std::pair{Act::kCut, From::kReceiver}));

TEST_F(RelayedSession, AStalledConnectionEndsWithTheDeadline) {
  measure();
  for (const auto& [from, at] :
       {std::pair{From::kSender, size_t{50}}, std::pair{From::kSender, said_[0] / 2},
        std::pair{From::kReceiver, said_[1] - 20}}) {
    run({Act::kStall, from, at}, 2, kTree, std::chrono::seconds(1));
    ASSERT_FALSE(sent_.ok());
    EXPECT_EQ(sent_.error().code, ErrorCode::kTimeout) << sent_.error().message;
    ASSERT_FALSE(received_.ok());
    EXPECT_EQ(received_.error().code, ErrorCode::kTimeout) << received_.error().message;
  }
}

// More than the buffers between the two ends take: the sender is still reading.
constexpr const char* kSixFiles =
    "mkdir a b; for f in a/1 a/2 a/3 b/1 b/2 b/3; do head -c 6M /dev/urandom >$f; done";

class FinalRound : public RelayedSession, public ::testing::WithParamInterface<const char*> {};

TEST_P(FinalRound, AChangeDuringItIsAnError) {
  const auto change = [this] { EXPECT_EQ(shell(scratch_.path("from"), GetParam()).status, 0); };
  run({Act::kCall, From::kSender, 12 << 20, "", 0, change}, 1, kSixFiles);
  EXPECT_TRUE(acted_);
  ASSERT_FALSE(sent_.ok());
  EXPECT_EQ(sent_.error().code, ErrorCode::kConflict) << sent_.error().message;
  EXPECT_NE(sent_.error().message.find("\"."), std::string::npos) << sent_.error().message;
  ASSERT_FALSE(received_.ok());
}

INSTANTIATE_TEST_SUITE_P(Relayed, FinalRound, ::testing::ValuesIn(kChangesWhileRead));

}  // namespace
}  // namespace transship::transfer
