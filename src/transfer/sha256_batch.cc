#include "transfer/sha256_batch.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace transship::transfer {
namespace {

void one_by_one(std::span<const std::string_view> contents, std::span<Sha256::Digest> digests) {
  Sha256 sha;
  for (size_t i = 0; i < contents.size(); ++i) {
    sha.update(contents[i]);
    digests[i] = sha.finish();
  }
}

}  // namespace

#if defined(__x86_64__)

namespace {

constexpr size_t kBlock = 64;

// FIPS 180-4, 4.2.2 and 5.3.3.
alignas(16) constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
constexpr uint32_t kBegin[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

// As the instructions want the words: A B E F and C D G H, the first one uppermost.
struct State {
  __m128i abef;
  __m128i cdgh;
};

State begin() {
  const auto word = [](int i) { return static_cast<int>(kBegin[i]); };
  return {_mm_set_epi32(word(0), word(1), word(4), word(5)),
          _mm_set_epi32(word(2), word(3), word(6), word(7))};
}

// `count` blocks of each of `kLanes` messages. The loops over lanes and words are unrolled, so that
// all of it stays in registers.
template <size_t kLanes>
__attribute__((target("sha,sse4.1"))) void take_blocks(State* states, const char* const* messages,
                                                       size_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  for (size_t block = 0; block < count; ++block) {
    State now[kLanes];
    __m128i words[kLanes][4];
#pragma GCC unroll 2
    for (size_t lane = 0; lane < kLanes; ++lane) {
      now[lane] = states[lane];
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) {
        const auto* from =
            reinterpret_cast<const __m128i*>(messages[lane] + block * kBlock + 16 * i);
        words[lane][i] = _mm_shuffle_epi8(_mm_loadu_si128(from), big_endian);
      }
    }
#pragma GCC unroll 16
    for (size_t four = 0; four < 16; ++four) {
      const __m128i add = _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds) + four);
#pragma GCC unroll 2
      for (size_t lane = 0; lane < kLanes; ++lane) {
        State& state = now[lane];
        __m128i* const word = words[lane];
        const __m128i sum = _mm_add_epi32(word[four % 4], add);
        state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
        state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32(sum, 0x0e));
        if (four >= 12) continue;
        const __m128i last = word[(four + 3) % 4];
        const __m128i next =
            _mm_add_epi32(_mm_sha256msg1_epu32(word[four % 4], word[(four + 1) % 4]),
                          _mm_alignr_epi8(last, word[(four + 2) % 4], 4));
        word[four % 4] = _mm_sha256msg2_epu32(next, last);
      }
    }
#pragma GCC unroll 2
    for (size_t lane = 0; lane < kLanes; ++lane) {
      states[lane].abef = _mm_add_epi32(states[lane].abef, now[lane].abef);
      states[lane].cdgh = _mm_add_epi32(states[lane].cdgh, now[lane].cdgh);
    }
  }
}

// One content on its way: its whole blocks, and then what is left of it with the padding.
struct Lane {
  const char* at = nullptr;
  size_t blocks = 0;  // whole ones, from there on
  size_t tail_blocks = 0;
  char tail[2 * kBlock];
  Sha256::Digest* digest = nullptr;

  void take(std::string_view content, Sha256::Digest& to) {
    at = content.data();
    blocks = content.size() / kBlock;
    digest = &to;
    const size_t left = content.size() % kBlock;
    tail_blocks = left + 9 > kBlock ? 2 : 1;
    std::memset(tail, 0, sizeof tail);
    if (left > 0) std::memcpy(tail, content.data() + content.size() - left, left);
    tail[left] = static_cast<char>(0x80);
    const uint64_t bits = __builtin_bswap64(uint64_t{content.size()} * 8);
    std::memcpy(tail + tail_blocks * kBlock - sizeof bits, &bits, sizeof bits);
    if (blocks == 0) go_to_tail();
  }
  void go_to_tail() {
    at = tail;
    blocks = std::exchange(tail_blocks, 0);
  }
  // Whether that was the end.
  bool advance(size_t count) {
    at += count * kBlock;
    blocks -= count;
    if (blocks == 0 && tail_blocks > 0) go_to_tail();
    return blocks == 0;
  }
  void finish(const State& state) const {
    uint32_t abef[4];
    uint32_t cdgh[4];
    std::memcpy(abef, &state.abef, sizeof abef);
    std::memcpy(cdgh, &state.cdgh, sizeof cdgh);
    const uint32_t words[8] = {abef[3], abef[2], cdgh[3], cdgh[2],
                               abef[1], abef[0], cdgh[1], cdgh[0]};
    for (size_t i = 0; i < 8; ++i) {
      const uint32_t word = __builtin_bswap32(words[i]);
      std::memcpy(digest->data() + 4 * i, &word, sizeof word);
    }
  }
};

void two_by_two(std::span<const std::string_view> contents, std::span<Sha256::Digest> digests) {
  Lane lanes[2];
  State states[2];
  size_t next = 0;
  // False: there is nothing left to take.
  const auto take_next = [&](size_t lane) {
    if (next == contents.size()) return false;
    lanes[lane].take(contents[next], digests[next]);
    states[lane] = begin();
    ++next;
    return true;
  };
  bool busy[2] = {take_next(0), take_next(1)};
  while (busy[0] && busy[1]) {
    const size_t count = std::min(lanes[0].blocks, lanes[1].blocks);
    const char* const messages[2] = {lanes[0].at, lanes[1].at};
    take_blocks<2>(states, messages, count);
    for (size_t lane = 0; lane < 2; ++lane) {
      if (!lanes[lane].advance(count)) continue;
      lanes[lane].finish(states[lane]);
      busy[lane] = take_next(lane);
    }
  }
  for (size_t lane = 0; lane < 2; ++lane) {
    while (busy[lane]) {
      const size_t count = lanes[lane].blocks;
      const char* const message = lanes[lane].at;
      take_blocks<1>(&states[lane], &message, count);
      busy[lane] = !lanes[lane].advance(count);
      if (!busy[lane]) lanes[lane].finish(states[lane]);
    }
  }
}

bool has_instructions() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSE4_1) == 0 || (c & bit_SSSE3) == 0)
    return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

}  // namespace

bool can_hash_side_by_side() {
  static const bool kCan = has_instructions();
  return kCan;
}

void sha256_each(std::span<const std::string_view> contents, std::span<Sha256::Digest> digests,
                 bool side_by_side) {
  if (side_by_side && can_hash_side_by_side()) {
    two_by_two(contents, digests);
  } else {
    one_by_one(contents, digests);
  }
}

#else

bool can_hash_side_by_side() { return false; }

void sha256_each(std::span<const std::string_view> contents, std::span<Sha256::Digest> digests,
                 bool /*side_by_side*/) {
  one_by_one(contents, digests);
}

#endif

}  // namespace transship::transfer
