#include "transfer/frame_compression.h"

#include <gtest/gtest.h>

#include <random>

namespace transship::transfer {
namespace {

std::string text_of(size_t size) {
  std::string text;
  for (int line = 0; text.size() < size; ++line)
    text += "line " + std::to_string(line) + ": nothing has happened\n";
  text.resize(size);
  return text;
}

std::string noise_of(size_t size) {
  std::mt19937 random(7);
  std::string noise(size, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  return noise;
}

Frame frame_of(FrameKind kind, std::string_view payload) {
  Frame frame;
  frame.kind = kind;
  frame.size = payload.size();
  frame.data = std::make_unique<char[]>(payload.size());
  std::copy(payload.begin(), payload.end(), frame.data.get());
  return frame;
}

std::string packed(std::string_view payload, FrameKind kind = FrameKind::kNodes) {
  return FrameCompressor(Compression::kZstd).pack(kind, payload, 0).value_or("");
}

Error refusal(std::string_view payload) {
  auto frame = unpack(frame_of(FrameKind::kPacked, payload), {});
  return frame.ok() ? Error{ErrorCode::kInternal, "taken"} : frame.error();
}

TEST(FrameCompression, UnpacksWhatItPacked) {
  for (const FrameKind kind : {FrameKind::kNodes, FrameKind::kNames, FrameKind::kDirectories}) {
    const std::string text = text_of(200'000);
    const std::string small = packed(text, kind);
    ASSERT_FALSE(small.empty());
    EXPECT_LT(small.size(), text.size() / 3);
    auto frame = unpack(frame_of(FrameKind::kPacked, small), {});
    ASSERT_TRUE(frame.ok()) << frame.error().message;
    EXPECT_EQ(frame->kind, kind);
    EXPECT_EQ(frame->payload(), text);
  }
}

TEST(FrameCompression, LeavesRoomForTheFramesHead) {
  FrameCompressor compressor(Compression::kZstd);
  const auto out = compressor.pack(FrameKind::kNodes, text_of(5000), 5);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->substr(0, 5), std::string(5, '\0'));
  EXPECT_EQ((*out)[5], static_cast<char>(FrameKind::kNodes));
}

TEST(FrameCompression, PassesOverWhatDoesNotBecomeSmaller) {
  EXPECT_EQ(packed(noise_of(100'000)), "");
  EXPECT_EQ(packed(text_of(1000)), "") << "less than is worth it";
  EXPECT_EQ(packed(text_of(100'000), FrameKind::kVolume), "") << "a message";
  FrameCompressor none(Compression::kNone);
  EXPECT_FALSE(none.pack(FrameKind::kNodes, text_of(9000), 0));
}

TEST(FrameCompression, PaysOnASlowLinkAlone) {
  FrameCompressor compressor(Compression::kAuto);
  EXPECT_FALSE(compressor.pays()) << "nothing is known yet";
  for (int i = 0; i < 4; ++i) (void)compressor.pack(FrameKind::kNodes, text_of(200'000), 0);
  EXPECT_FALSE(compressor.pays()) << "the link is not known";
  compressor.set_link(1e4);
  EXPECT_TRUE(compressor.pays());
  compressor.set_link(1e13);
  EXPECT_FALSE(compressor.pays());
}

TEST(FrameCompression, PaysOnlyForWhatBecomesSmaller) {
  FrameCompressor compressor(Compression::kAuto);
  compressor.set_link(1e4);
  for (int i = 0; i < 40; ++i) (void)compressor.pack(FrameKind::kNodes, noise_of(200'000), 0);
  EXPECT_FALSE(compressor.pays());
  // Seen by the samples that are taken all the same.
  for (int i = 0; i < 2000 && !compressor.pays(); ++i)
    (void)compressor.pack(FrameKind::kNodes, text_of(20'000), 0);
  EXPECT_TRUE(compressor.pays());
}

TEST(FrameCompression, RefusesWhatIsNotWhatItSays) {
  const std::string good = packed(text_of(200'000));
  const auto with_size = [&](size_t size) {
    std::string head(1, static_cast<char>(FrameKind::kNodes));
    put_number(head, size);
    return head + good.substr(5);
  };
  EXPECT_EQ(refusal(with_size(199'999)).code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(with_size(200'001)).code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(with_size(kLargestFrame)).code, ErrorCode::kCorrupt) << "a bomb";
  EXPECT_EQ(refusal(with_size(UINT32_MAX)).code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(good.substr(0, good.size() / 2)).code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(good + "more").code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal("").code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(std::string(1, 'B')).code, ErrorCode::kCorrupt);
  std::string message = good;
  message[0] = static_cast<char>(FrameKind::kVolume);
  EXPECT_EQ(refusal(message).code, ErrorCode::kCorrupt);
  message[0] = static_cast<char>(FrameKind::kPacked);
  EXPECT_EQ(refusal(message).code, ErrorCode::kCorrupt) << "one in another";
}

}  // namespace
}  // namespace transship::transfer
