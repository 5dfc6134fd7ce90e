#include "transfer/sha256_aside.h"

#include <gtest/gtest.h>

#include <random>

namespace transship::transfer {
namespace {

TEST(Sha256Aside, IsTheDigestOfAllThatCameHoweverItWasHashed) {
  std::mt19937 random(4);
  Sha256Aside aside;
  for (int round = 0; round < 50; ++round) {
    Sha256 sha;
    std::string buffers[2];
    for (size_t i = 0; i < random() % 20; ++i) {
      std::string& buffer = buffers[i % 2];  // the other one is still being hashed, perhaps
      buffer.assign(random() % 300'000, static_cast<char>(random()));
      sha.update(buffer);
      aside.update(buffer, random() % 3 != 0);
    }
    EXPECT_EQ(to_hex(aside.finish()), to_hex(sha.finish()));
  }
}

TEST(Sha256Aside, MayBeLeftInTheMiddle) {
  const std::string content(10'000'000, 'x');
  Sha256Aside aside;
  aside.update(content, /*aside=*/true);
}

}  // namespace
}  // namespace transship::transfer
