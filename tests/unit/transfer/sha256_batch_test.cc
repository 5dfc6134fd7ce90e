#include "transfer/sha256_batch.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace transship::transfer {
namespace {

Sha256::Digest by_openssl(std::string_view content) {
  Sha256 sha;
  sha.update(content);
  return sha.finish();
}

// Each at an address of its own, so that reading beyond an end shows under AddressSanitizer.
void expect_as_openssl(const std::vector<std::string>& contents) {
  const std::vector<std::string_view> views(contents.begin(), contents.end());
  for (const bool side_by_side : {true, false}) {
    std::vector<Sha256::Digest> digests(contents.size());
    sha256_each(views, digests, side_by_side);
    for (size_t i = 0; i < contents.size(); ++i) {
      ASSERT_EQ(to_hex(digests[i]), to_hex(by_openssl(contents[i])))
          << "content " << i << " of " << contents.size() << ", " << contents[i].size()
          << " bytes, side by side: " << side_by_side;
    }
  }
}

TEST(Sha256Batch, EveryLengthAroundABlocksEndBesideEveryOther) {
  std::vector<std::string> contents;
  for (const size_t first :
       {0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 127, 128, 129, 1000}) {
    for (size_t second = 0; second <= 200; ++second) {
      contents.emplace_back(first, 'a');
      contents.emplace_back(second, 'b');
    }
  }
  expect_as_openssl(contents);
  contents.pop_back();  // an odd number
  expect_as_openssl(contents);
}

TEST(Sha256Batch, RandomContentsOfRandomLengthsInBatchesOfAnySize) {
  std::mt19937_64 random(20);
  const auto below = [&](uint64_t limit) { return random() % limit; };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> contents(below(9));
    for (std::string& content : contents) {
      content.resize(below(uint64_t{1} << below(17)));
      for (char& c : content) c = static_cast<char>(random());
    }
    expect_as_openssl(contents);
  }
}

TEST(Sha256Batch, KnownAnswers) {
  const std::vector<std::string_view> contents = {"", "abc"};
  std::vector<Sha256::Digest> digests(2);
  sha256_each(contents, digests);
  EXPECT_EQ(to_hex(digests[0]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(digests[1]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace transship::transfer
