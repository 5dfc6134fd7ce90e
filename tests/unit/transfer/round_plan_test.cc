#include "transfer/round_plan.h"

#include <gtest/gtest.h>

namespace transship::transfer {
namespace {

using std::chrono::milliseconds;

// Rounds one after the other, at 1000 bytes a millisecond and with `fixed` for each.
class Rounds {
 public:
  explicit Rounds(milliseconds fixed = milliseconds(0)) : fixed_(fixed) {}
  Rounds& sent(int64_t bytes) {
    const milliseconds took = fixed_ + milliseconds(bytes / 1000);
    rounds_.push_back({now_, took, milliseconds(10), bytes});
    now_ += took;
    return *this;
  }
  // What a program that writes so much a millisecond leaves for the next one.
  Rounds& written_at(int64_t bytes_per_millisecond) {
    return sent(rounds_.back().took.count() * bytes_per_millisecond);
  }
  [[nodiscard]] RoundForecast with(int most, std::optional<milliseconds> budget = {}) const {
    return forecast(rounds_, {most, budget});
  }

 private:
  milliseconds fixed_;
  std::chrono::steady_clock::time_point now_;
  std::vector<RoundTime> rounds_;
};

TEST(Forecast, AfterTheFirstRoundIsThatAllOfItMayComeAgain) {
  const Rounds rounds = Rounds().sent(5'000'000);
  EXPECT_EQ(rounds.with(10).final_round, milliseconds(5010));
  EXPECT_TRUE(rounds.with(10).another);
}

TEST(Forecast, OfAnIdleVolumeIsTheWalkAlone) {
  const Rounds rounds = Rounds().sent(5'000'000).sent(0);
  EXPECT_EQ(rounds.with(10).final_round, milliseconds(10));
  EXPECT_FALSE(rounds.with(10).another);
}

TEST(Forecast, FollowsWhatIsWritten) {
  // A tenth of what the link carries: each round is a tenth of the one before.
  Rounds rounds;
  rounds.sent(50'000'000).written_at(100);
  EXPECT_EQ(rounds.with(10).final_round, milliseconds(510));
  EXPECT_TRUE(rounds.with(10).another) << "the next one saves 450 ms";
  rounds.written_at(100);
  EXPECT_EQ(rounds.with(10).final_round, milliseconds(60));
  EXPECT_FALSE(rounds.with(10).another) << "less than 100 ms are left to save";
}

TEST(Forecast, BeyondTheBudgetAsksForAnotherRoundAsLongAsTheyShrink) {
  Rounds rounds;
  rounds.sent(50'000'000).written_at(800);
  EXPECT_TRUE(rounds.with(10, milliseconds(1000)).another);
  EXPECT_FALSE(rounds.with(10).another) << "a fifth less is not worth a round without a budget";
  Rounds hopeless;
  hopeless.sent(50'000'000).written_at(1000);
  EXPECT_GT(hopeless.with(10).final_round, milliseconds(49'000));
  EXPECT_FALSE(hopeless.with(10, milliseconds(1000)).another);
}

TEST(Forecast, WithinTheBudgetGoesOnOnlyWhereMuchIsSaved) {
  Rounds rounds;
  rounds.sent(1'000'000).written_at(500);
  EXPECT_TRUE(rounds.with(10, milliseconds(10'000)).another) << "a quarter of a second is saved";
  Rounds small;
  small.sent(100'000).written_at(500);
  EXPECT_FALSE(small.with(10, milliseconds(10'000)).another);
}

TEST(Forecast, NeverAsksForMoreRoundsThanAllowed) {
  EXPECT_FALSE(Rounds().sent(5'000'000).with(1).another);
  Rounds rounds;
  rounds.sent(50'000'000).written_at(100);
  EXPECT_FALSE(rounds.with(2).another);
  EXPECT_FALSE(rounds.with(2, milliseconds(1)).another);
}

TEST(Forecast, CountsWhatARoundCostsApartFromItsBytes) {
  const Rounds rounds = Rounds(milliseconds(300)).sent(5'000'000).sent(0);
  EXPECT_GE(rounds.with(10).final_round, milliseconds(300));
  EXPECT_FALSE(rounds.with(10).another) << "another round would cost as much again";
}

}  // namespace
}  // namespace transship::transfer
