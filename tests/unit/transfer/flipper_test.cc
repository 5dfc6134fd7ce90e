// Somebody turns a directory into a symbolic link and back, all the time, while it is read or
// written: nothing outside is ever read or touched.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <atomic>
#include <thread>

#include "judge.h"
#include "scratch.h"
#include "tls_fixture.h"
#include "transfer/send_session.h"
#include "transfer/tree.h"

namespace transship::transfer {
namespace {

// Exchanges two names as fast as it can.
class Flipper {
 public:
  Flipper(std::string one, std::string other)
      : thread_([this, one, other](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0)
              ++flips;
          }
        }) {}
  std::atomic<int64_t> flips = 0;

 private:
  std::jthread thread_;
};

class FlipperTest : public TlsTest {
 protected:
  void SetUp() override {
    TlsTest::SetUp();
    shell(scratch_.path(),
          "mkdir -p outside/e; echo secret >outside/file; echo secret >outside/e/file");
  }

  // A tree in which d/e/file is where the outside has one, too.
  void make(const std::string& name) {
    shell(scratch_.path(), "rm -rf " + name + "; mkdir -p " + name + "/d/e; cd " + name +
                               "; echo inside >d/file; echo inside >d/e/file; "
                               "for i in 1 2 3 4 5 6 7 8; do echo $i >d/e/$i; echo $i >d/$i; done");
  }

  void expect_nothing_of_outside_in(const std::string& name) {
    EXPECT_EQ(shell(scratch_.path(), "grep -rl secret " + name).output, "");
  }

  bool by_rounds(int from, int to) {
    connect_both();
    const Until soon{{}, Until::Clock::now() + std::chrono::seconds(60)};
    auto receiving = std::async(std::launch::async, [&] {
      auto outcomes =
          receive_session(*receiver_, {"m", 1}, {{"v", to, {}, nullptr}}, {.until = soon});
      receiver_.reset();
      return outcomes.ok();
    });
    const bool sent =
        send_session(*sender_, {"m", 1}, {{"v", from, {}, nullptr}}, {.until = soon}).ok();
    sender_.reset();
    return receiving.get() && sent;
  }

  static bool by_tar(int from, int to) { return copy_tree(from, to).ok(); }

  bool copy(bool rounds, int from, int to) {
    return rounds ? by_rounds(from, to) : by_tar(from, to);
  }

  static constexpr int kCopies = 30;
};

class Flipped : public FlipperTest, public ::testing::WithParamInterface<bool> {};

TEST_P(Flipped, AParentWhileReadingLeadsNowhere) {
  make("from");
  shell(scratch_.path(), "ln -s \"$PWD/outside\" from/other");
  Flipper flipper(scratch_.path("from/d"), scratch_.path("from/other"));
  for (int i = 0; i < kCopies; ++i) {
    shell(scratch_.path(), "rm -rf to");
    const UniqueFd from = scratch_.open("from");
    const UniqueFd to = scratch_.open("to");
    (void)copy(GetParam(), from.get(), to.get());  // whether it is caught in the act is chance
    expect_nothing_of_outside_in("to");
    if (HasFailure()) break;
  }
  EXPECT_GT(flipper.flips, kCopies);
}

TEST_P(Flipped, AParentWhileWritingLeadsNowhere) {
  make("from");
  const auto before = describe_tree(scratch_.path("outside"));
  shell(scratch_.path(), "ln -s \"$PWD/outside\" link");
  int64_t flips = 0;
  for (int i = 0; i < kCopies; ++i) {
    shell(scratch_.path(), "rm -rf to");
    const UniqueFd from = scratch_.open("from");
    const UniqueFd to = scratch_.open("to");
    {
      Flipper flipper(scratch_.path("to/d"), scratch_.path("link"));
      (void)copy(GetParam(), from.get(), to.get());
      flips += flipper.flips;
    }
    // Wherever it ended: the link is a link to the outside again.
    shell(scratch_.path(), "rm -rf to/d link; ln -s \"$PWD/outside\" link");
    EXPECT_EQ(describe_tree(scratch_.path("outside")), before);
    if (HasFailure()) break;
  }
  EXPECT_GT(flips, 0);
}

INSTANTIATE_TEST_SUITE_P(Flipper, Flipped, ::testing::Bool());

}  // namespace
}  // namespace transship::transfer
