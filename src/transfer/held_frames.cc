#include "transfer/held_frames.h"

#include <algorithm>

#include "transfer/wire.h"

namespace transship::transfer {
namespace {

constexpr size_t kPayload = 128 << 10;
constexpr size_t kDigestsAtOnce = 2048;
constexpr size_t kDigestBytes = 16;
constexpr int64_t kSmallestBlock = 4096;
constexpr int64_t kLargestBlock = int64_t{1} << 30;

void append_number(std::string& out, uint64_t number) {
  for (unsigned shift = 0; shift < 64; shift += 8)
    out += static_cast<char>(number >> shift & 0xFFU);
}

uint64_t number_at(std::string_view in) {
  uint64_t number = 0;
  for (unsigned i = 0; i < 8; ++i)
    number |= static_cast<uint64_t>(static_cast<unsigned char>(in[i])) << i * 8;
  return number;
}

class HeldWriter {
 public:
  HeldWriter(const Inventory& inventory, const std::function<Status(std::string_view)>& write)
      : inventory_(inventory), write_(write) {}

  Status run() {
    Encoder(out_).op(Op::kDirectory).number(kRootNode).metadata(inventory_.at(kRootNode));
    find_places();
    for (NodeId id = kFirstNode; id < inventory_.size(); ++id) TRANSSHIP_TRY(node(id));
    for (const NameChange& link : links_) {
      Encoder(out_).op(Op::kLink).number(link.node).place(link.directory, link.name);
      TRANSSHIP_TRY(flush(kPayload));
    }
    return flush(1);
  }

 private:
  struct Place {
    NodeId directory = kNoNode;
    std::string_view name;
  };

  void find_places() {
    places_.resize(inventory_.size());
    for (NodeId id = 0; id < inventory_.size(); ++id) {
      if (!inventory_.is_directory(id) || !inventory_.at(id).extra) continue;
      for (const Child& child : inventory_.at(id).extra->children) {
        Place& place = places_[child.node];
        if (place.directory == kNoNode) {
          place = {id, child.name()};
        } else {
          links_.push_back({id, child.name(), child.node});
        }
      }
    }
  }

  Status node(NodeId id) {
    const Node& node = inventory_.at(id);
    Encoder out(out_);
    out.op(node.is_directory() ? Op::kMakeDirectory
           : node.is_regular() ? Op::kNewFile
                               : Op::kNewNode);
    out.number(id).place(places_[id].directory, places_[id].name).metadata(node);
    if (node.is_regular()) {
      const BlockMap* map = node.extra ? &node.extra->blocks : nullptr;
      out.number(static_cast<uint64_t>(node.size)).digest(node.content);
      out.number(map == nullptr ? 0 : static_cast<uint64_t>(map->block));
      if (map != nullptr && map->block != 0) TRANSSHIP_TRY(blocks(id, *map));
    }
    return flush(kPayload);
  }

  Status blocks(NodeId id, const BlockMap& map) {
    for (const Extent& extent : map.extents) {
      Encoder(out_).op(Op::kExtent).number(id).number(static_cast<uint64_t>(extent.offset));
      Encoder(out_).number(static_cast<uint64_t>(extent.length));
      TRANSSHIP_TRY(flush(kPayload));
    }
    for (size_t at = 0; at < map.digests.size(); at += kDigestsAtOnce) {
      std::string digests;
      for (size_t i = at; i < std::min(at + kDigestsAtOnce, map.digests.size()); ++i) {
        append_number(digests, map.digests[i].low);
        append_number(digests, map.digests[i].high);
      }
      Encoder(out_).op(Op::kBlocks).number(id).text(digests);
      TRANSSHIP_TRY(flush(kPayload));
    }
    return {};
  }

  Status flush(size_t least) {
    if (out_.size() < least) return {};
    const Status written = write_(out_);
    out_.clear();
    return written;
  }

  const Inventory& inventory_;
  const std::function<Status(std::string_view)>& write_;
  std::string out_;
  SpillVector<Place> places_;      // the first of each node
  SpillVector<NameChange> links_;  // all others
};

}  // namespace

Status write_held(const Inventory& inventory,
                  const std::function<Status(std::string_view)>& write_payload) {
  return HeldWriter(inventory, write_payload).run();
}

HeldReader::HeldReader(const ReceiveLimits& limits, XattrScope xattrs)
    : limits_(limits), xattrs_(xattrs) {}

Error HeldReader::refuse(const char* why) {
  return {ErrorCode::kCorrupt, std::string("what the receiver says it has: ") + why};
}

Status HeldReader::take(std::string_view payload) {
  payload_ += static_cast<int64_t>(payload.size());
  if (payload_ > limits_.held_bytes) return refuse("it is more than is allowed");
  for (Decoder in(payload, xattrs_); !in.done();) {
    TRANSSHIP_TRY(take_one(in));
    if (in.failed()) return refuse("it is malformed");
  }
  return {};
}

Status HeldReader::take_one(Decoder& in) {
  TRANSSHIP_TRY(Spill::of_process().check());
  const Op op = in.op();
  if (!rooted_ && op != Op::kDirectory) return refuse("the root does not come first");
  switch (op) {
    case Op::kDirectory:
      return take_root(in);
    case Op::kMakeDirectory:
      return take_node(in, /*directory=*/true);
    case Op::kNewFile:
    case Op::kNewNode: {
      const NodeId id = inventory_.size();
      TRANSSHIP_TRY(take_node(in, /*directory=*/false));
      if (in.failed()) return {};
      Node& node = inventory_.at(id);
      if (node.is_regular() != (op == Op::kNewFile)) return refuse("an entry of another type");
      return node.is_regular() ? take_content(in, node) : Status();
    }
    case Op::kLink:
      return take_link(in);
    case Op::kExtent:
      return take_piece(in, /*extent=*/true);
    case Op::kBlocks:
      return take_piece(in, /*extent=*/false);
    default:
      return refuse("it is malformed");
  }
}

Status HeldReader::take_root(Decoder& in) {
  if (in.node() != kRootNode || rooted_) return refuse("it has no root, or several");
  rooted_ = true;
  Node& root = inventory_.at(kRootNode);
  in.metadata(root);
  root.set(Node::kStale);
  return {};
}

Status HeldReader::take_node(Decoder& in, bool directory) {
  const NodeId id = in.node();
  const NodeId parent = in.node();
  const std::string_view name = in.name();
  if (in.failed()) return {};
  if (id != inventory_.size() || !inventory_.is_directory(parent))
    return refuse("an entry comes twice, or before its directory");
  if (++entries_ > limits_.entries) return refuse("it has more entries than are allowed");
  inventory_.add();
  Node& node = inventory_.at(id);
  in.metadata(node);
  if (in.failed()) return {};
  if (node.is_directory() != directory) return refuse("an entry of another type");
  if (directory) node.more();
  node.set(Node::kStale);
  inventory_.add_child(parent, inventory_.keep(name), id);
  return {};
}

Status HeldReader::take_content(Decoder& in, Node& node) {
  node.size = static_cast<int64_t>(in.number(INT64_MAX));
  node.content = in.digest();
  const auto block = static_cast<int64_t>(in.number(kLargestBlock));
  if (in.failed()) return {};
  if (block != 0 && (block < kSmallestBlock || (block & (block - 1)) != 0))
    return refuse("a file has blocks of no size that is known");
  if (node.size > limits_.bytes - bytes_) return refuse("it has more bytes than are allowed");
  bytes_ += node.size;
  if (block != 0) node.more().blocks.block = block;
  return {};
}

Status HeldReader::take_link(Decoder& in) {
  const NodeId id = in.node();
  const NodeId parent = in.node();
  const std::string_view name = in.name();
  if (in.failed()) return {};
  if (!inventory_.is_directory(parent) || id < kFirstNode || id >= inventory_.size() ||
      inventory_.is_directory(id))
    return refuse("a further name of what has none");
  if (++entries_ > limits_.entries) return refuse("it has more entries than are allowed");
  inventory_.add_child(parent, inventory_.keep(name), id);
  return {};
}

// Of the file that came last.
Status HeldReader::take_piece(Decoder& in, bool extent) {
  const NodeId id = in.node();
  if (in.failed()) return {};
  if (id < kFirstNode || id + 1 != inventory_.size() || !inventory_.at(id).extra ||
      inventory_.at(id).extra->blocks.block == 0)
    return refuse("blocks of a file that has none");
  BlockMap& map = inventory_.at(id).extra->blocks;
  const int64_t size = inventory_.at(id).size;
  if (!extent) {
    const std::string_view digests = in.text(kDigestsAtOnce * kDigestBytes);
    if (digests.size() % kDigestBytes != 0) return refuse("half a digest");
    for (size_t at = 0; at < digests.size(); at += kDigestBytes)
      map.digests.push_back(
          {number_at(digests.substr(at)), number_at(digests.substr(at + kDigestBytes / 2))});
    return {};
  }
  const auto offset = static_cast<int64_t>(in.number(INT64_MAX));
  const auto length = static_cast<int64_t>(in.number(INT64_MAX));
  if (in.failed()) return {};
  const int64_t after = map.extents.empty() ? 0 : map.extents.back().end();
  if (length == 0 || offset < after || offset > size || length > size - offset ||
      map.extents.size() == kMaxExtents)
    return refuse("data in a place where a file has none");
  map.extents.push_back({offset, length});
  return {};
}

Status HeldReader::check_blocks(NodeId id) const {
  const Node& node = inventory_.at(id);
  if (!node.extra || node.extra->blocks.block == 0) return {};
  const BlockMap& map = node.extra->blocks;
  const int64_t blocks = node.size / map.block + (node.size % map.block == 0 ? 0 : 1);
  return static_cast<int64_t>(map.digests.size()) == blocks
             ? Status()
             : refuse("a file with other blocks than its size");
}

Result<Inventory> HeldReader::finish() {
  if (!rooted_) return refuse("it has no root");
  for (NodeId id = 0; id < inventory_.size(); ++id) {
    TRANSSHIP_TRY(check_blocks(id));
    if (!inventory_.is_directory(id)) continue;
    inventory_.sort_children(id);
    const auto& children = inventory_.at(id).more().children;
    const auto twice =
        std::adjacent_find(children.begin(), children.end(),
                           [](const Child& a, const Child& b) { return a.name() == b.name(); });
    if (twice != children.end()) return refuse("a name that comes twice");
  }
  return std::move(inventory_);
}

}  // namespace transship::transfer
