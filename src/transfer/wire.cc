#include "transfer/wire.h"

#include <climits>

#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

constexpr size_t kMostXattrs = 65536;
// Beside the inode flags: the project id follows.
constexpr uint8_t kProject = 128;
static_assert(InodeAttributes::kAll < kProject);

constexpr size_t kLargestXattr = 65536;  // XATTR_SIZE_MAX

uint64_t zigzag(int64_t number) {
  return (static_cast<uint64_t>(number) << 1U) ^ static_cast<uint64_t>(number >> 63);
}

}  // namespace

Encoder& Encoder::number(uint64_t number) {
  while (number >= 0x80) {
    out_ += static_cast<char>(number | 0x80U);
    number >>= 7U;
  }
  out_ += static_cast<char>(number);
  return *this;
}

Encoder& Encoder::signed_number(int64_t value) { return number(zigzag(value)); }

Encoder& Encoder::text(std::string_view text) {
  number(text.size());
  out_ += text;
  return *this;
}

Encoder& Encoder::digest(const Sha256::Digest& digest) {
  out_.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return *this;
}

Encoder& Encoder::metadata(const Node& node) {
  number(node.mode).number(node.uid).number(node.gid);
  signed_number(node.mtime_seconds).number(node.mtime_nanoseconds);
  const NodeExtra* extra = node.extra.get();
  if (extra == nullptr || extra->xattrs.empty()) {
    number(0);
  } else {
    const std::vector<Xattr> xattrs = extra->xattrs.read();
    number(xattrs.size());
    for (const Xattr& xattr : xattrs) text(xattr.name).text(xattr.value);
  }
  number(node.inode_flags | (node.project != 0 ? kProject : 0U));
  if (node.project != 0) number(node.project);
  if (S_ISLNK(node.mode)) text(extra == nullptr ? std::string_view() : extra->link_target);
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
    number(extra->device_major).number(extra->device_minor);
  }
  return *this;
}

Op Decoder::op() {
  if (rest_.empty()) return fail(), Op{};
  const char letter = rest_.front();
  rest_.remove_prefix(1);
  return static_cast<Op>(letter);
}

uint64_t Decoder::number(uint64_t most) {
  uint64_t number = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) break;
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    const uint64_t bits = byte & 0x7FU;
    if (shift == 63 && bits > 1) break;
    number |= bits << shift;
    if (byte < 0x80) {
      if ((byte == 0 && shift > 0) || number > most) break;  // one way to write a number
      return number;
    }
  }
  fail();
  return 0;
}

int64_t Decoder::signed_number() {
  const uint64_t value = number();
  return static_cast<int64_t>(value >> 1U) ^ -static_cast<int64_t>(value & 1U);
}

std::string_view Decoder::text(size_t most) {
  const uint64_t length = number(most);
  if (length > rest_.size()) return fail(), std::string_view();
  const std::string_view text = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return text;
}

Sha256::Digest Decoder::digest() {
  Sha256::Digest digest{};
  if (rest_.size() < digest.size()) return fail(), digest;
  rest_.copy(reinterpret_cast<char*>(digest.data()), digest.size());
  rest_.remove_prefix(digest.size());
  return digest;
}

std::string_view Decoder::name() {
  const std::string_view name = text(NAME_MAX);
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos)
    return fail(), std::string_view();
  return name;
}

void Decoder::metadata(Node& node) {
  const auto mode = static_cast<uint32_t>(number(0177777));
  const uint32_t type = mode & S_IFMT;
  if (node.exists() ? type != (node.mode & S_IFMT)
                    : !S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode) && !S_ISFIFO(mode) &&
                          !S_ISSOCK(mode) && !S_ISCHR(mode) && !S_ISBLK(mode))
    fail();
  if (failed_) return;
  node.mode = mode;
  node.uid = static_cast<uint32_t>(number(UINT32_MAX));
  node.gid = static_cast<uint32_t>(number(UINT32_MAX));
  node.mtime_seconds = signed_number();
  node.mtime_nanoseconds = static_cast<uint32_t>(number(999'999'999));
  const uint64_t count = number(kMostXattrs);
  std::vector<Xattr> xattrs;
  for (uint64_t i = 0; i < count && !failed_; ++i) {
    Xattr xattr;
    xattr.name = text(XATTR_NAME_MAX);
    xattr.value = text(kLargestXattr);
    if (!is_carried_xattr(xattr.name, xattrs_) || xattr.name.find('\0') != std::string::npos ||
        (!xattrs.empty() && xattrs.back().name >= xattr.name))
      return fail();
    xattrs.push_back(std::move(xattr));
  }
  if (node.extra || !xattrs.empty()) node.more().xattrs = xattrs;
  const auto flags = static_cast<uint8_t>(number(UINT8_MAX));
  node.inode_flags = flags & InodeAttributes::kAll;
  node.project = (flags & kProject) != 0 ? static_cast<uint32_t>(number(UINT32_MAX)) : 0;
  if (((flags & kProject) != 0 && node.project == 0) ||
      (node.inode_flags & ~InodeAttributes::carried(S_ISDIR(mode), S_ISREG(mode))) != 0)
    return fail();
  if (S_ISLNK(mode)) {
    node.more().link_target = text(PATH_MAX);
    if (node.extra->link_target.empty() || node.extra->link_target.find('\0') != std::string::npos)
      return fail();
  }
  if (S_ISCHR(mode) || S_ISBLK(mode)) {
    node.more().device_major = static_cast<uint32_t>(number(UINT32_MAX));
    node.more().device_minor = static_cast<uint32_t>(number(UINT32_MAX));
  }
}

}  // namespace transship::transfer
