// Rounds: whatever becomes of a volume between two of them, the copy is the volume in the end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <functional>
#include <random>

#include "hostile_tree.h"
#include "judge.h"
#include "tls_fixture.h"
#include "transfer/send_session.h"

namespace transship::transfer {
namespace {

class RoundsTest : public TlsTest {
 protected:
  void SetUp() override {
    TlsTest::SetUp();
    connect_both();
    to_ = to_tree_.open();
    incoming_ = {{"data", to_.get(), {}, nullptr}};
    receiving_ = std::async(std::launch::async, [this] {
      auto outcomes = receive_session(*receiver_, {"m", 1}, incoming_);
      receiver_.reset();
      return outcomes;
    });
  }
  void TearDown() override {
    session_.reset();
    sender_.reset();
    if (receiving_.valid()) (void)receiving_.get();
  }

  void begin() {
    from_ = from_tree_.open();
    session_.emplace(
        *sender_, SessionIdentity{"m", 1},
        std::vector<SessionVolume>{{"data", from_.get(), {}, nullptr}},
        SessionOptions{
            .until = {}, .on_sent = [this] { on_sent_(); }, .compression = Compression::kNone});
    const Status begun = session_->begin();
    ASSERT_TRUE(begun.ok()) << begun.error().message;
  }

  RoundTotals round() {
    auto sent = session_->round();
    EXPECT_TRUE(sent.ok()) << sent.error().message;
    return sent.ok() ? *sent : RoundTotals{};
  }

  void finish_session() {
    auto sent = session_->finish(&last_);
    ASSERT_TRUE(sent.ok()) << sent.error().message;
  }

  void finish() {
    auto sent = session_->finish(&last_);
    ASSERT_TRUE(sent.ok()) << sent.error().message;
    auto received = receiving_.get();
    ASSERT_TRUE(received.ok()) << received.error().message;
    EXPECT_EQ(differences(from_tree_.path(), to_tree_.path()), "");
    EXPECT_EQ(sent->front().sent.digest, received->front().verified.digest);
    auto alone = digest_tree(from_.get());
    ASSERT_TRUE(alone.ok());
    EXPECT_EQ(sent->front().verified.digest, alone->digest);
  }

  // A file is made there when all has been sent, and nothing compared yet: both ends fail.
  void finish_while_a_name_comes(const std::string& path) {
    on_sent_ = [this, path] { from_tree_.write(path, "x"); };
    auto sent = session_->finish();
    ASSERT_FALSE(sent.ok());
    EXPECT_EQ(sent.error().code, ErrorCode::kConflict) << sent.error().message;
    session_.reset();
    sender_.reset();
    EXPECT_FALSE(receiving_.get().ok());
  }

  void change(const std::string& command) {
    const ShellResult done = shell(from_tree_.path(), command);
    ASSERT_EQ(done.status, 0) << command << ": " << done.errors;
  }

  std::function<void()> on_sent_ = [] {};  // in the final round, before anything is compared
  Scratch from_tree_;
  Scratch to_tree_;
  UniqueFd from_;
  UniqueFd to_;
  std::vector<SessionVolume> incoming_;
  std::optional<SendSession> session_;
  RoundTotals last_;
  std::future<Result<std::vector<VolumeOutcome>>> receiving_;
};

constexpr const char* kTree =
    "mkdir -p a/b/c d/e; echo 1 >a/1; echo 2 >a/b/2; echo 3 >a/b/c/3; echo 4 >d/e/4; ln a/1 d/one; "
    "ln -s 1 a/symlink; mkfifo d/fifo; ln d/fifo a/fifo2; head -c 3000000 /dev/urandom >large; "
    "truncate -s 9M holes; printf x | dd of=holes bs=1 seek=5M conv=notrunc status=none; "
    "setfattr -n user.x -v 1 a/1; touch -d 2001-01-01 large a/b";

TEST_F(RoundsTest, CompressedArrivesInFewerBytes) {
  change("seq 1 200000 >large; mkdir d; for i in $(seq 300); do seq $i 900 >d/$i; done");
  from_ = from_tree_.open();
  SessionOptions options;
  options.compression = Compression::kZstd;
  session_.emplace(*sender_, SessionIdentity{"m", 1},
                   std::vector<SessionVolume>{{"data", from_.get(), {}, nullptr}}, options);
  ASSERT_TRUE(session_->begin().ok());
  EXPECT_LT(round().bytes, 1'000'000) << "of more than two million";
  change("seq 5 200005 >large; mv d e; echo more >>e/7");
  finish();
}

class Between : public RoundsTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(Between, TwoRoundsArrives) {
  change(kTree);
  begin();
  round();
  change(GetParam());
  round();
  finish();
}

TEST_P(Between, TheOnlyAndTheFinalRoundArrives) {
  change(kTree);
  begin();
  round();
  change(GetParam());
  finish();
}

INSTANTIATE_TEST_SUITE_P(
    Rounds, Between,
    ::testing::Values(
        "true", "echo more >>a/1",
        "printf y | dd of=large bs=1 seek=1500000 conv=notrunc status=none",
        "head -c 100000 /dev/urandom >>large", "truncate -s 700000 large", "truncate -s 10 large",
        "truncate -s 0 large", "echo short >large", "mv a z", "mv a/b d/e/b",
        "mv a d/a && mv d/a/b .", "mv a/1 t && mv d/e/4 a/1 && mv t d/e/4",
        "mv a t && mv d a && mv t d", "mv a/b/c . && mv a/b c/b && mv a c/b/a", "rm -r a",
        "rm -r a d && mkdir a d && echo n >a/1", "rm a/1 && mkdir a/1 && echo 5 >a/1/5",
        "rm -r a/b && echo file >a/b", "rm d/one", "ln a/b/2 d/two && ln a/b/2 two && rm a/b/2",
        "rm d/one && cp a/1 d/one", "mv d/one a/moved && rm a/1",
        "chmod 4751 a/1 && chown 5:6 a/b a/symlink && chmod 2770 d",
        "setfattr -x user.x a/1 && setfattr -n user.y -v 2 a/b a/b/2",
        "setfattr -n system.posix_acl_default -v "
        "0x0200000001000700ffffffff04000700ffffffff20000700ffffffff d && chmod g+s d && echo n "
        ">d/new "
        "&& mkdir d/newdir && mkfifo d/newfifo",
        "t=$(stat -c %y large) && printf z | dd of=large bs=1 seek=9000 conv=notrunc status=none "
        "&& "
        "touch -d \"$t\" large",
        "t=$(stat -c %y a/1) && echo 9 >a/1 && touch -d \"$t\" a/1",
        "fallocate -p -o 8192 -l 65536 large",
        "dd if=/dev/zero of=holes bs=1M count=2 conv=notrunc "
        "status=none",
        "truncate -s 20M holes && truncate -s 6M holes",
        "for i in 1 2 3 4 5 6 7 8; do rm -f inode; echo $i >inode; done; rm a/1; echo 7 >seven",
        "rm a/symlink && ln -s other a/symlink", "touch -h -d @5 a/symlink; touch -d @-7 .",
        "mkdir .transship-moving && mv a .transship-moving/ && mv d a", "mkfifo a/b/p && rm d/fifo",
        "mkdir lost+found && mv a lost+found/"));

TEST_F(RoundsTest, OfAHostileTreeAreExact) {
  make_hostile_tree(from_tree_.path());
  begin();
  round();
  change("mv contents metadata/ && mv names contents && rm -rf xattrs");
  finish();
}

TEST_F(RoundsTest, ManyAtRandomAreExact) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  make_random_tree(from_tree_.path(), seed);
  begin();
  round();
  for (int i = 0; i < 6; ++i) {
    // Entries are moved, linked, removed, altered, and new ones come; what cannot be is left out.
    change("export RANDOM_SEED=" + std::to_string(random()) + R"(
      RANDOM=$((RANDOM_SEED % 32768)); find . -mindepth 1 -print0 | shuf -z -n 60 --random-source=<(
        yes $RANDOM_SEED) | while IFS= read -r -d '' f; do
        other=$(find . -type d | shuf -n 1 --random-source=<(yes $RANDOM)) || true
        case $((RANDOM % 9)) in
          0) mv -n "$f" "$other/m$RANDOM" ;;
          1) rm -rf "$f" ;;
          2) [ -f "$f" ] && ln "$f" "$other/l$RANDOM" ;;
          3) [ -f "$f" ] && echo more >>"$f" ;;
          4) [ -f "$f" ] && truncate -s $RANDOM "$f" ;;
          5) mkdir "$other/d$RANDOM" ;;
          6) chmod $((RANDOM % 8))$((RANDOM % 8))5 "$f" ;;
          7) rm -rf "$f"; mkdir -p "$f" ;;
          8) mv -T --exchange "$f" "$other" || { rm -rf "$f"; head -c 400000 /dev/zero >"$f"; } ;;
        esac
      done 2>/dev/null; true)");
    if (random() % 3 != 0) round();
  }
  finish();
}

TEST_F(RoundsTest, OfAnUnchangedVolumeNothingIsSent) {
  change(kTree);
  begin();
  round();
  // What changed in the seconds before a round is read again in the next, and on tmpfs all is.
  for (int again = 0; again < 2; ++again) EXPECT_EQ(round().entries, 0);
  finish();
  EXPECT_EQ(last_.entries, 0);
}

// Directories that have not changed for long are not read again for their names.
TEST_F(RoundsTest, WhateverBecomesOfNamesThatAreKnownIsFound) {
  for (const char* in : {"1", "2", "3", "4", "5", "6", "7", "8", "9"}) {
    const std::string d = in;
    change("mkdir -p " + d + "/inner; for i in $(seq 30); do echo $i >" + d + "/$i; echo $i >" + d +
           "/inner/$i; done; ln " + d + "/1 " + d + "/one; ln -s 1 " + d + "/s");
  }
  change("sleep 3.1");
  begin();
  round();
  // In place, which no directory shows.
  change("echo changed >1/5; echo 22 >>1/inner/5; chmod 600 1/6; setfattr -n user.x -v 1 1/7");
  EXPECT_EQ(round().entries, 4);
  // Names, each in a directory of its own.
  change(
      "rm 2/8; echo new >3/new; mv 4/inner/9 4/9; mv 5/10 5/ten; echo other >o; mv o 6/11; "
      "ln 7/12 7/twelve; rm 8/s; ln -s 2 8/s; mv 9 nine; mkdir 9; echo 1 >9/1");
  round();
  EXPECT_EQ(round().entries, 0);
  // And some that nothing has changed in so far, or whose own metadata changed alone.
  change(
      "rm -r 1/inner; mkdir 1/inner; echo 1 >1/inner/1; chmod 700 2; mv 3/inner 4/from3; "
      "mv 4/inner 3/inner; touch -d 2001-01-01 5; rm 5/1; touch -r 6/inner 6; rm nine/inner/1");
  round();
  finish();
  EXPECT_EQ(last_.entries, 0);
}

TEST_F(RoundsTest, ANameThatComesInTheFinalRoundIsFoundInADirectoryThatIsKnown) {
  change("mkdir d; for i in $(seq 40); do head -c 1000000 /dev/urandom >$i; done; sleep 3.1");
  begin();
  round();
  finish_while_a_name_comes("d/new");
}

TEST_F(RoundsTest, OfALargeFileOnlyBlocksGoThatChanged) {
  change("head -c 50000000 /dev/urandom >large");
  begin();
  const RoundTotals first = round();
  EXPECT_GT(first.bytes, 50'000'000);
  change("printf y | dd of=large bs=1 seek=40000000 conv=notrunc status=none");
  finish();
  EXPECT_LT(last_.bytes, 20'000);
}

// Pages of a file that are in the page cache, by mincore(2).
std::vector<bool> pages_there(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat stat {};
  ::fstat(file.get(), &stat);
  const auto size = static_cast<size_t>(stat.st_size);
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  std::vector<unsigned char> there((size + 4095) / 4096);
  EXPECT_EQ(::mincore(at, size, there.data()), 0);
  ::munmap(at, size);
  std::vector<bool> pages;
  for (const unsigned char page : there) pages.push_back((page & 1U) != 0);
  return pages;
}

// What the page cache has of files, some of which are there as a whole, some in part, some not.
struct CachedFiles {
  static constexpr const char* kMake =
      "rm -f *; for f in small large; do for n in 1 2; do s=$([ $f = small ] && echo 9000 || echo "
      "30000000); "
      "head -c $s /dev/urandom >$f$n; done; done; head -c 30000000 /dev/urandom >part; sync -f .; "
      "dd if=small2 iflag=nocache count=0 status=none; dd if=large2 iflag=nocache count=0 "
      "status=none; dd if=part iflag=nocache,skip_bytes skip=15M count=0 status=none";
  static constexpr ptrdiff_t kLarge = (30'000'000 + 4095) / 4096;

  explicit CachedFiles(const Scratch& tree) : part(pages_there(tree.path("part"))) {
    const auto count = [&](const char* name) {
      const auto pages = pages_there(tree.path(name));
      return std::count(pages.begin(), pages.end(), true);
    };
    wanted = count("small1") == 3 && count("large1") == kLarge;
    unwanted =
        count("small2") + count("large2") + std::count(part.begin() + 16 * 256, part.end(), true);
  }

  bool wanted = false;     // all that was made and not let go is there
  ptrdiff_t unwanted = 0;  // pages that were let go
  std::vector<bool> part;
};

// The kernel may take any page at any time, for reasons of its own: so one time in some has to do.
TEST_F(RoundsTest, ReadingLeavesThePageCacheAsItWas) {
  struct statfs file_system {};
  ::statfs(from_tree_.path().c_str(), &file_system);
  uint64_t all[2] = {0, 0};
  uint64_t state[5] = {};
  const bool told = ::syscall(451, -1, all, state, 0) == -1 && errno == EBADF;  // cachestat(2)
  if (file_system.f_type == TMPFS_MAGIC || !told)
    GTEST_SKIP() << "needs a disk, and Linux 6.5 to look into its page cache";
  begin();
  bool kept = false;
  for (int i = 0; i < 20 && !kept; ++i) {
    change(CachedFiles::kMake);
    const CachedFiles before(from_tree_);
    round();
    const CachedFiles after(from_tree_);
    EXPECT_TRUE(before.unwanted != 0 || after.unwanted == 0) << after.unwanted;
    kept = before.wanted && before.unwanted == 0 && after.wanted;
    for (size_t page = 0; page < before.part.size(); ++page)
      kept = kept && (!before.part[page] || after.part[page]);
  }
  EXPECT_TRUE(kept);
  finish();
}

TEST_F(RoundsTest, AMoveTakesNoContent) {
  change("mkdir d; head -c 5000000 /dev/urandom >d/large");
  begin();
  round();
  change("mv d e; mv e/large e/other");
  finish();
  EXPECT_LT(last_.bytes, 5000);
}

TEST_F(RoundsTest, AVolumeInUseMayChangeAllTheTime) {
  change("mkdir d; for i in $(seq 300); do echo $i >d/$i; done");
  begin();
  std::jthread writer([this](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      const std::string n = std::to_string(i % 300);
      shell(from_tree_.path(), "rm -f d/" + n + "; mkdir -p e/" + n + "; echo x >e/" + n +
                                   "/f; mv e d/e" + std::to_string(i) +
                                   "; mkdir e; ln d/7 e/7; "
                                   "head -c 600000 /dev/zero >big; mv d/8 d/9; rm -rf d/e*/[0-4]");
    }
  });
  for (int i = 0; i < 15; ++i) round();
  writer = {};
  finish();
}

TEST_F(RoundsTest, AChangeDuringTheFinalRoundIsAnError) {
  change("for i in $(seq 40); do head -c 1000000 /dev/urandom >$i; done");
  begin();
  round();
  finish_while_a_name_comes("new");
}

TEST_F(RoundsTest, WhatSomebodyElseDoesToTheCopyIsFound) {
  change(kTree);
  begin();
  round();
  const ShellResult meddled = shell(to_tree_.path(),
                                    "t=$(stat -c %y large); printf zzz | dd of=large "
                                    "bs=1 seek=10 conv=notrunc status=none; touch -d \"$t\" large");
  ASSERT_EQ(meddled.status, 0);
  auto sent = session_->finish();
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("./large\" has other content"), std::string::npos)
      << sent.error().message;
}

}  // namespace
}  // namespace transship::transfer
