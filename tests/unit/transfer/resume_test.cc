// A session whose connection breaks, or one end of which is killed, goes on; what arrives is the
// volume.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <random>

#include "cutting_proxy.h"
#include "hostile_tree.h"
#include "judge.h"
#include "tls_fixture.h"
#include "transfer/send_session.h"

namespace transship::transfer {
namespace {

using Outcomes = Result<std::vector<VolumeOutcome>>;
using std::chrono::seconds;

constexpr const char* kTree =
    "mkdir -p a/b/c d/e; echo 1 >a/1; echo 2 >a/b/2; echo 3 >a/b/c/3; echo 4 >d/e/4; ln a/1 d/one; "
    "ln -s 1 a/symlink; mkfifo d/fifo; ln d/fifo a/fifo2; head -c 3000000 /dev/urandom >large; "
    "truncate -s 9M holes; printf x | dd of=holes bs=1 seek=5M conv=notrunc status=none; "
    "setfattr -n user.x -v 1 a/1; touch -d 2001-01-01 large a/b; truncate -s 70000 small-hole; "
    "echo end >>small-hole; for i in $(seq 40); do head -c 20000 /dev/urandom >d/e/$i; done";

// What happens to the volume while nobody sends.
constexpr const char* kChange =
    "mv a/b d/e/b; rm d/e/1 d/e/2; ln d/e/3 a/three; mv d/e/5 d/e/6; rm d/one; cp a/1 d/one; "
    "ln -sf other a/symlink; rm -r d/fifo; mkdir d/fifo; echo n >d/fifo/n; "
    "printf y | dd of=large bs=1 seek=1500000 conv=notrunc status=none; chmod 4711 d/e/7; "
    "mv d/e/8 t; mv d/e/9 d/e/8; mv t d/e/9; truncate -s 2M holes; touch -d @77 d";

class ResumeTest : public TlsTest {
 protected:
  void SetUp() override {
    TlsTest::SetUp();
    from_ = from_tree_.open();
    to_ = to_tree_.open();
  }
  void TearDown() override {
    session_.reset();
    proxy_.reset();
    if (receiving_.valid()) (void)receiving_.get();
  }

  void change(const std::string& command) { change(from_tree_, command); }
  static void change(const Scratch& tree, const std::string& command) {
    const ShellResult done = shell(tree.path(), command);
    ASSERT_EQ(done.status, 0) << command << ": " << done.errors;
  }

  [[nodiscard]] std::vector<SessionVolume> outgoing() {
    return {{"data", from_.get(), {}, &sent_}};
  }
  [[nodiscard]] std::vector<SessionVolume> incoming() {
    return {{"data", to_.get(), {}, &received_}};
  }

  void receive(SessionOptions options = {}) {
    receiving_ = std::async(std::launch::async, [this, options] {
      return receive_session(*listener_, {"m", 1}, incoming(), options);
    });
  }
  [[nodiscard]] Connect connect_to(uint16_t port) const {
    return [options = sender_options(), port](const Until& until) {
      return tls_connect("127.0.0.1", port, options, until);
    };
  }
  // A sender whose connections are cut.
  void begin(std::vector<Cut> cuts = {}, const SessionOptions& options = {}) {
    proxy_ = std::make_unique<CuttingProxy>(listener_->port(), std::move(cuts));
    SessionOptions plain = options;
    plain.compression = Compression::kNone;  // bytes are counted, and cut after
    session_.emplace(connect_to(proxy_->port), SessionIdentity{"m", 1}, outgoing(), plain);
    const Status begun = session_->begin();
    ASSERT_TRUE(begun.ok()) << begun.error().message;
  }
  int64_t round() {
    auto sent = session_->round();
    EXPECT_TRUE(sent.ok()) << sent.error().message;
    return sent.ok() ? sent->bytes : -1;
  }
  int64_t finish() {
    RoundTotals last;
    const Outcomes sent = session_->finish(&last);
    EXPECT_TRUE(sent.ok()) << sent.error().message;
    // It does not come back: the receiver is not to wait for it.
    session_.reset();
    proxy_.reset();
    const Outcomes received = receiving_.get();
    EXPECT_TRUE(received.ok()) << received.error().message;
    EXPECT_EQ(differences(from_tree_.path(), to_tree_.path()), "");
    if (sent.ok() && received.ok()) {
      EXPECT_EQ(sent->front().sent.digest, received->front().verified.digest);
      EXPECT_EQ(sent->front().verified.digest, digest_tree(from_.get())->digest);
    }
    return last.bytes;
  }
  void expect_holes_alike(const std::string& file) {
    const std::string command = "stat -c %b " + file;
    EXPECT_EQ(shell(from_tree_.path(), command).output, shell(to_tree_.path(), command).output);
  }

  // A copy whose receiver is a process of its own, killed when so many bytes have come.
  void copy_and_kill(size_t bytes) {
    const pid_t child = ::fork();
    if (child == 0) {
      (void)receive_session(*listener_, {"m", 1}, incoming(), {.until = {}, .resume = true});
      ::_exit(0);
    }
    {
      CuttingProxy proxy(listener_->port(), {{.from_client = bytes}});
      auto stream = tls_connect("127.0.0.1", proxy.port, sender_options(), {});
      ASSERT_TRUE(stream.ok()) << stream.error().message;
      EXPECT_FALSE(send_session(**stream, {"m", 1}, outgoing(),
                                {.until = {}, .compression = Compression::kNone})
                       .ok());
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    listen(receiver_options());
  }

  Scratch from_tree_;
  Scratch to_tree_;
  UniqueFd from_;
  UniqueFd to_;
  Progress sent_;
  Progress received_;
  std::unique_ptr<CuttingProxy> proxy_;
  std::optional<SendSession> session_;
  std::future<Outcomes> receiving_;
};

TEST_F(ResumeTest, CutAtAnyBytesItArrivesWhole) {
  change(kTree);
  receive();
  begin();
  round();
  change("echo more >>a/1");
  const size_t client = proxy_->from_client();
  const size_t server = proxy_->from_server();
  finish();
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 12; ++i) {
    change("find . -mindepth 1 -delete");
    change(kTree);
    change(to_tree_, "find . -mindepth 1 -delete");
    std::vector<Cut> cuts;
    std::string trace;
    for (int k = 0; k < 4; ++k) {
      Cut cut;
      if (random() % 3 == 0) {
        cut.from_server = random() % (server * 5 / 4);
      } else {
        // Now and then within the handshake or the header.
        cut.from_client = random() % (random() % 3 == 0 ? 3000 : client * 5 / 4);
      }
      trace += std::to_string(cut.from_client) + "/" + std::to_string(cut.from_server) + " ";
      cuts.push_back(cut);
    }
    SCOPED_TRACE("cuts " + trace);
    // Where only the receiver's parting is lost, the sender waits so long for another.
    const SessionOptions options{.until = {}, .patience = seconds(5)};
    receive(options);
    begin(cuts, options);
    if (HasFatalFailure()) return;
    round();
    change(kChange);
    if (i % 2 == 0) round();
    finish();
    expect_holes_alike("holes small-hole large");
    if (HasFailure()) return;
  }
}

TEST_F(ResumeTest, OfABrokenRoundOnlyTheRestIsSent) {
  change("mkdir d; for i in $(seq 200); do head -c 200000 /dev/urandom >d/$i; done; sleep 2.1");
  constexpr int64_t kAll = 200 * 200'000;
  receive();
  begin({{.from_client = kAll * 3 / 4}});
  const int64_t first = round();
  EXPECT_GT(first, kAll);
  EXPECT_LT(first, kAll * 3 / 2);
  EXPECT_EQ(proxy_->connections(), 2);
  EXPECT_LT(finish(), 200'000);
  EXPECT_EQ(received_.bytes, kAll);
  EXPECT_EQ(sent_.bytes, kAll);
}

TEST_F(ResumeTest, OfALargeFileOnlyTheRestIsSent) {
  change("head -c 40000000 /dev/urandom >large");
  receive();
  begin({{.from_client = 30'000'000}});
  EXPECT_LT(finish(), 55'000'000);
}

TEST_F(ResumeTest, OfALargeFileThatWasSentInVainOnlyTheChangesAreSentAgain) {
  change("head -c 40000000 /dev/urandom >large");
  receive();
  begin();
  round();
  change(
      "for i in 1 2 3; do printf y | dd of=large bs=1 seek=${i}0000000 conv=notrunc status=none; "
      "done");
  proxy_->swallow();
  EXPECT_LT(finish(), 100'000);
  EXPECT_EQ(received_.bytes, 40'000'000);
}

TEST_F(ResumeTest, AConnectionThatBreaksWhileItRestsIsReplacedAtOnce) {
  change(kTree);
  receive();
  begin();
  round();
  session_->pause();
  proxy_->cut();
  proxy_->wait_for_connections(2);
  change(kChange);
  const Status awake = session_->go_on({}, nullptr);
  ASSERT_TRUE(awake.ok()) << awake.error().message;
  EXPECT_LT(finish(), 1'500'000);
}

TEST_F(ResumeTest, AReceiverThatWasKilledIsFollowedByOneThatTakesOnlyTheRest) {
  change("mkdir d; for i in $(seq 200); do head -c 200000 /dev/urandom >d/$i; done");
  copy_and_kill(30'000'000);
  receive({.until = {}, .resume = true});
  begin();
  EXPECT_LT(finish(), 25'000'000);
}

// After a crash, or by somebody's hand.
class Meddled : public ResumeTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(Meddled, WithBetweenTheCopyArrivesAllTheSame) {
  change(kTree);
  copy_and_kill(2'000'000);
  change(to_tree_, GetParam());
  change(kChange);
  receive({.until = {}, .resume = true});
  begin();
  finish();
  expect_holes_alike("holes small-hole large");
  EXPECT_EQ(shell(to_tree_.path(), "cat ../outside-$(basename $PWD) 2>/dev/null").output,
            shell(to_tree_.path(), "test ! -e ../outside-$(basename $PWD) || echo safe").output);
  shell(to_tree_.path(), "rm -f ../outside-$(basename $PWD)");
}

INSTANTIATE_TEST_SUITE_P(
    Resume, Meddled,
    ::testing::Values(
        "true", "find . -mindepth 1 -delete", "for f in $(find . -type f); do echo x >>$f; done",
        "for f in $(find . -type f -size +0); do t=$(stat -c %y $f); printf zzz | dd of=$f bs=1 "
        "conv=notrunc status=none; touch -d \"$t\" $f; done",
        "find . -mindepth 1 -exec chmod 000 {} + ; chown -R 7:8 . ; touch -d @1 *",
        "find . -type f -exec setfattr -n user.stray -v 1 {} +",
        "setfattr -n system.posix_acl_default -v "
        "0x0200000001000700ffffffff04000700ffffffff20000700ffffffff . ; chmod 2777 .",
        "rm -rf a; mkdir -p a/1/x a/symlink/y; echo f >a/b",
        "rm -rf d large; ln -s /etc d; ln -s /etc/passwd large",
        "mkdir -p .transship-moving-0123456789abcdef/5/x; mkdir -p lost+found/y; echo z "
        ">lost+found/y/z",
        "mkfifo pipe; mknod null c 1 3; ln null null2; mkdir -p deep/$(printf 'x/%.0s' $(seq 200))",
        "for f in $(find . -type f | head -9); do ln $f $f-linked; done",
        "for f in $(find . -type f); do cp --sparse=never $f t; cat t >$f; done; rm -f t",
        "echo safe >../outside-$(basename $PWD); mkdir -p a d; rm -rf a/1 d/one; "
        "ln ../outside-$(basename $PWD) a/1; ln ../outside-$(basename $PWD) d/one; "
        "ln ../outside-$(basename $PWD) stray"));

TEST_F(ResumeTest, ACompleteCopyTakesNextToNothing) {
  change(kTree);
  receive();
  begin();
  finish();
  receive({.until = {}, .resume = true});
  begin();
  EXPECT_LT(finish(), 3000);
}

TEST_F(ResumeTest, AHostileTreeGoesOn) {
  make_hostile_tree(from_tree_.path());
  receive();
  begin({{.from_client = 400'000}, {.from_client = 500'000}});
  round();
  finish();
  receive({.until = {}, .resume = true});
  begin();
  finish();
}

TEST_F(ResumeTest, WithoutItADestinationMustBeEmpty) {
  change("echo x >file");
  change(to_tree_, "echo mine >file");
  receive();
  begin();
  const Outcomes sent = session_->finish();
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::kPreconditionFailed) << sent.error().message;
  EXPECT_EQ(shell(to_tree_.path(), "cat file").output, "mine\n");
}

TEST_F(ResumeTest, NoOtherSenderTakesASessionOver) {
  change(kTree);
  receive();
  begin();
  round();
  proxy_->cut();
  SendSession other(connect_to(listener_->port()), {"m", 1}, outgoing(), {});
  const Status refused = other.begin();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kForbidden) << refused.error().message;
  finish();
}

TEST_F(ResumeTest, ASenderThatFailedIsNotWaitedFor) {
  change("for i in $(seq 40); do head -c 1000000 /dev/urandom >$i; done");
  receive();
  begin();
  round();
  std::jthread writer([this](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) from_tree_.write("new" + std::to_string(i), "x");
  });
  const Outcomes sent = session_->finish();
  writer = {};
  ASSERT_FALSE(sent.ok());
  const Outcomes received = receiving_.get();
  ASSERT_FALSE(received.ok());
  EXPECT_EQ(received.error().code, ErrorCode::kConflict) << received.error().message;
}

TEST_F(ResumeTest, WhoDoesNotComeBackIsNotWaitedForForEver) {
  change(kTree);
  receive({.until = {}, .patience = seconds(1)});
  begin();
  round();
  session_.reset();
  const Outcomes received = receiving_.get();
  ASSERT_FALSE(received.ok());
  EXPECT_EQ(received.error().code, ErrorCode::kUnavailable) << received.error().message;
}

TEST_F(ResumeTest, AReceiverThatIsGoneIsNotTriedForEver) {
  change(kTree);
  receive({.until = {}, .patience = seconds(1)});
  begin({}, {.until = {}, .patience = seconds(1)});
  round();
  proxy_.reset();
  auto sent = session_->round();
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable) << sent.error().message;
  EXPECT_FALSE(receiving_.get().ok());
}

TEST_F(ResumeTest, ConnectionsThatComeToNothingAreNotTriedForEver) {
  change(kTree);
  for (const size_t bytes : {100, 2500, 10000, 50000}) {
    SCOPED_TRACE(bytes);
    change(to_tree_, "find . -mindepth 1 -delete");
    receive({.until = {}, .patience = seconds(2)});
    std::vector<Cut> cuts(1000, Cut{.from_client = bytes});
    cuts[0] = {};
    begin(cuts, {.until = {}, .patience = seconds(1)});
    round();
    proxy_->cut();
    change("head -c 1000000 /dev/urandom >new");
    auto sent = session_->round();
    ASSERT_FALSE(sent.ok());
    EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable) << sent.error().message;
    session_.reset();
    EXPECT_FALSE(receiving_.get().ok());
  }
}

// The receiver does not hear that the sender agrees: it has nothing, and says so, whatever the
// sender thinks.
TEST_F(ResumeTest, WithoutAgreementTheReceiverHasNothing) {
  change(kTree);
  receive({.until = {}, .patience = seconds(1)});
  SessionOptions options{.until = {}, .patience = seconds(1)};
  options.on_sent = [this] { proxy_->silence_client(); };
  begin({}, options);
  const Outcomes sent = session_->finish();
  EXPECT_TRUE(sent.ok()) << sent.error().message;
  const Outcomes received = receiving_.get();
  ASSERT_FALSE(received.ok());
  EXPECT_EQ(received.error().code, ErrorCode::kUnavailable) << received.error().message;
}

}  // namespace
}  // namespace transship::transfer
