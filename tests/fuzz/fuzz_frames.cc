// Frames of rounds to a receiver, as a sender that means harm could write them. The input is
// frames: a letter (any other ends the round), a length of two bytes, big endian, and operations.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "arena.h"
#include "transfer/round_receiver.h"

namespace {

using namespace transship::transfer;

void play(std::string_view input, int to) {
  ReceiveOptions options;
  options.limits.bytes = 1 << 20;
  options.limits.entries = 200;
  RoundReceiver receiver(to, options);
  if (!receiver.begin()) return;
  while (input.size() >= 3) {
    const auto kind = static_cast<FrameKind>(input[0]);
    const size_t announced =
        static_cast<unsigned char>(input[1]) * size_t{256} + static_cast<unsigned char>(input[2]);
    const size_t size = std::min(announced, input.size() - 3);
    Frame frame;
    frame.kind = kind;
    frame.size = size;
    frame.data = std::make_unique<char[]>(size);
    std::memcpy(frame.data.get(), input.data() + 3, size);
    input.remove_prefix(3 + size);
    if (kind == FrameKind::kDirectories || kind == FrameKind::kNames || kind == FrameKind::kNodes) {
      if (!receiver.take(std::move(frame))) return;
    } else if (!receiver.end_round() || !receiver.verify(/*whole=*/false)) {
      return;
    }
  }
  if (receiver.end_round().ok() && receiver.verify(/*whole=*/true).ok()) (void)receiver.summary();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Arena arena;
  const transship::UniqueFd to = arena.open();
  play({reinterpret_cast<const char*>(data), size}, to.get());
  arena.check();
  return 0;
}
