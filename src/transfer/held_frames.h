// What a receiver says it has of a volume (docs/rounds.md, Resume), as the payloads of kHeld
// frames.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "transfer/inventory.h"
#include "transfer/tree.h"
#include "transfer/wire.h"

namespace transship::transfer {

// All of the inventory, in payloads of a few hundred KiB at most. Blocks are said of the files that
// have them.
Status write_held(const Inventory& inventory,
                  const std::function<Status(std::string_view)>& write_payload);

// The sender's end, which trusts nothing: kCorrupt for what is malformed, no tree, or more than the
// limits allow.
class HeldReader {
 public:
  explicit HeldReader(const ReceiveLimits& limits, XattrScope xattrs = XattrScope::kVolume);

  Status take(std::string_view payload);

  // The whole of it: nodes are numbered as the receiver has them, have no inode number, and are
  // kStale.
  Result<Inventory> finish();

 private:
  Status take_one(Decoder& in);
  Status take_root(Decoder& in);
  Status take_node(Decoder& in, bool directory);
  Status take_link(Decoder& in);
  Status take_piece(Decoder& in, bool extent);
  Status take_content(Decoder& in, Node& node);
  Status check_blocks(NodeId id) const;
  [[nodiscard]] static Error refuse(const char* why);

  ReceiveLimits limits_;
  XattrScope xattrs_;
  Inventory inventory_;
  bool rooted_ = false;
  int64_t entries_ = 1;
  int64_t bytes_ = 0;    // all files' sizes
  int64_t payload_ = 0;  // of all frames
};

}  // namespace transship::transfer
