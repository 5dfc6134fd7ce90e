// How the changes of a round are written (docs/rounds.md): numbers of variable length, texts with
// their length, operations one after the other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "transfer/inventory.h"
#include "transfer/xattrs.h"

namespace transship::transfer {

enum class Op : char {
  // Names; in frames of their own.
  kMakeDirectory = 'd',    // node, place
  kUnlink = 'u',           // node, place: one of its names goes
  kRemoveDirectory = 'r',  // node, place: an empty one
  kDetach = 'o',           // node, place: it goes on, at another place
  kAttach = 'a',           // node, place: what was detached
  kLink = 'l',             // node, place, another place where it is already
  // Nodes.
  kNewFile = 'f',      // node, place, metadata, digest, content
  kNewNode = 'n',      // node, place, metadata: neither file nor directory
  kFileContent = 'c',  // node, place, metadata, digest, content: all of it anew
  kMetadata = 'm',     // node, place, metadata: no directory
  kDirectory = 'p',    // node, metadata, when all is in it
  kOpenFile = 'b',     // node, place, Opening, size: a large file; then some of the next two
  kData = 'w',         // node, offset, bytes
  kHole = 'h',         // node, offset, length: what was there goes
  kCloseFile = 'e',    // node, metadata, size, digest
  // What the receiver has (held_tree.h), besides some of the above.
  kExtent = 'x',  // node, offset, length: where a file has data
  kBlocks = 'k',  // node, digests of its next blocks
};

enum class Opening : uint8_t { kAsItIs, kNew, kEmptied };

class Encoder {
 public:
  explicit Encoder(std::string& out) : out_(out) {}
  Encoder& op(Op op) { return out_ += static_cast<char>(op), *this; }
  Encoder& number(uint64_t number);
  Encoder& signed_number(int64_t number);
  Encoder& text(std::string_view text);
  Encoder& digest(const Sha256::Digest& digest);
  Encoder& place(NodeId directory, std::string_view name) { return number(directory).text(name); }
  // Mode, owner, time, extended attributes, inode flags, project id; a link's target, a device's
  // number. Not the size.
  Encoder& metadata(const Node& node);

 private:
  std::string& out_;
};

// Reads what an encoder wrote. What is not there or is no such thing makes it fail for good and
// reads as zero or empty.
class Decoder {
 public:
  explicit Decoder(std::string_view in, XattrScope xattrs = XattrScope::kVolume)
      : rest_(in), xattrs_(xattrs) {}
  [[nodiscard]] bool done() const { return rest_.empty(); }
  [[nodiscard]] bool failed() const { return failed_; }

  Op op();
  uint64_t number(uint64_t most = UINT64_MAX);
  int64_t signed_number();
  std::string_view text(size_t most);
  Sha256::Digest digest();
  NodeId node() { return static_cast<NodeId>(number(UINT32_MAX)); }
  // A name as a directory can have it.
  std::string_view name();
  // Into the node, whose type must be the one it has, if it has one.
  void metadata(Node& node);

 private:
  void fail() {
    failed_ = true;
    rest_ = {};
  }

  std::string_view rest_;
  XattrScope xattrs_;
  bool failed_ = false;
};

}  // namespace transship::transfer
