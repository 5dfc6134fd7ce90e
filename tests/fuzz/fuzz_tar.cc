// Tars to import: headers, pax records, sparse maps. The sums that headers must have are set right
// first, so that what is behind them is met, too.
#include <cstdio>
#include <cstring>
#include <string>

#include "arena.h"
#include "transfer/tree.h"

namespace {

using namespace transship::transfer;

// Of every block that says it is a header.
void mend_sums(std::string& tar) {
  for (size_t at = 0; at + 512 <= tar.size(); at += 512) {
    if (std::memcmp(tar.data() + at + 257, "ustar", 5) != 0) continue;
    std::memset(tar.data() + at + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(tar[at + i]);
    char text[16];
    std::snprintf(text, sizeof text, "%06o", sum);
    std::memcpy(tar.data() + at + 148, text, 7);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Arena arena;
  std::string tar(reinterpret_cast<const char*>(data), size);
  mend_sums(tar);
  ReceiveOptions options;
  options.limits.bytes = 1 << 20;
  options.limits.entries = 200;
  const transship::UniqueFd to = arena.open();
  MemorySource source(as_bytes(tar));
  auto received = receive_tree(to.get(), source, options);
  if (received.ok() && !verify_tree(to.get(), received->manifest).ok()) __builtin_trap();
  arena.check();
  return 0;
}
