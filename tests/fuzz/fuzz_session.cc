// What either end of a session says beside rounds: the header that a sender begins with, and what a
// receiver says it has. The input is frames as in fuzz_frames: a letter, a length of two bytes, big
// endian, and the payload: H for a header, O for a part of what is held; any other letter ends
// that.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "transfer/held_frames.h"
#include "transfer/session_header.h"

namespace {

using namespace transship::transfer;

constexpr int64_t kMostEntries = 200;

void play_header(std::string_view payload) {
  Frame frame;
  frame.kind = FrameKind::kHeader;
  frame.size = payload.size();
  frame.data = std::make_unique<char[]>(payload.size());
  std::memcpy(frame.data.get(), payload.data(), payload.size());
  const auto message = parse_message(frame);
  if (!message.ok()) return;
  const std::vector<SessionVolume> volumes = {{.name = "a", .announced = {}},
                                              {.name = "b", .announced = {}}};
  const auto header = read_header(*message, {"uid", 1}, volumes);
  if (!header.ok()) return;
  std::vector<size_t> order = header->order;
  std::sort(order.begin(), order.end());
  if (order != std::vector<size_t>{0, 1} || header->announced.size() != 2) __builtin_trap();
}

// An inventory that was taken is said again, and must be the same.
void check_same(Inventory& inventory) {
  if (inventory.size() > kMostEntries + 1) __builtin_trap();
  HeldReader reader({});
  const transship::Status said =
      write_held(inventory, [&](std::string_view payload) { return reader.take(payload); });
  if (!said.ok()) __builtin_trap();
  auto again = reader.finish();
  if (!again.ok() || again->summary().digest != inventory.summary().digest) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  ReceiveLimits limits;
  limits.bytes = 1 << 20;
  limits.entries = kMostEntries;
  limits.held_bytes = 1 << 16;
  std::optional<HeldReader> reader(limits);
  while (input.size() >= 3) {
    const char kind = input[0];
    const size_t announced =
        static_cast<unsigned char>(input[1]) * size_t{256} + static_cast<unsigned char>(input[2]);
    const std::string_view payload = input.substr(3, std::min(announced, input.size() - 3));
    input.remove_prefix(3 + payload.size());
    if (kind == 'H') {
      play_header(payload);
    } else if (kind == 'O') {
      if (!reader->take(payload).ok()) return 0;
    } else {
      auto inventory = reader->finish();
      if (inventory.ok()) check_same(*inventory);
      reader.emplace(limits);
    }
  }
  return 0;
}
