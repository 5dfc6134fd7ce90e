#include "transfer/file_sender.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "transfer/beneath.h"
#include "transfer/content_batch.h"
#include "transfer/page_cache.h"
#include "transfer/sha256_aside.h"
#include "transfer/source_xattrs.h"

namespace transship::transfer {
namespace {

constexpr size_t kFrame = 256 << 10;
constexpr int64_t kChunk = 256 << 10;
constexpr int64_t kHashedAside = 8 << 20;  // where nothing else is to be done
constexpr int64_t kHoleUnit = 64 << 10;    // no file system has larger blocks
constexpr BatchLimits kLimits{.items = 64, .bytes = kSmallFile, .queued = 8};

}  // namespace

// One thread's: a buffer for what it reads and one for what it writes.
class FileSender::Worker {
 public:
  explicit Worker(FileSender& sender) : sender_(sender), options_(sender.options_) {}

  Status send(const std::vector<FileItem>& items) {
    files_.resize(items.size());
    // On a disk all are asked for before the first is read.
    for (size_t i = 0; options_.on_disk && i < items.size(); ++i) open(items[i], files_[i]);
    for (size_t i = 0; i < items.size(); ++i) {
      sent_ = false;
      if (!options_.on_disk) open(items[i], files_[i]);
      TRANSSHIP_TRY(send_item(items[i], files_[i]));
      files_[i] = {};
      if (sent_) ++sender_.sent_;
      TRANSSHIP_TRY(Spill::of_process().check());
      if (options_.progress != nullptr) ++options_.progress->entries;
      if (out_.size() >= kFrame) TRANSSHIP_TRY(flush());
    }
    TRANSSHIP_TRY(send_contents());
    return flush();
  }

 private:
  struct Opened {
    UniqueFd file;
    int error = 0;
    PageCacheTrace cache;
  };
  // A small file that was read into the batch.
  struct Small {
    const FileItem* item = nullptr;
    bool sure = true;     // of the metadata
    bool changed = true;  // the receiver has other metadata
  };

  void open(const FileItem& item, Opened& opened) const {
    if (!item.node->is_regular()) return;
    auto file = open_for_reading(item.handle->get(), std::string(item.name), 0, kNoPath);
    if (!file) {
      opened.error = errno;
      return;
    }
    opened.file = std::move(file).value();
    if (options_.on_disk) opened.cache = PageCacheTrace(opened.file.get(), item.node->size);
  }

  Status send_item(const FileItem& item, Opened& opened) {
    if (!item.node->is_regular()) return send_other(item);
    if (opened.error != 0) return lost(item, "open", opened.error);
    const int file = opened.file.get();
    // Something else may have the name by now.
    auto now = stat_beneath(file, "", kNoPath);
    if (!now) return path_error("stat", plain_path(item), errno);
    if (!S_ISREG(now->stx_mode) || now->stx_ino != item.node->inode)
      return lost(item, "open", ENOENT);
    auto taken =
        take_xattrs(*item.node, XattrPlace(file, options_.xattrs), file, "", options_.final);
    if (!taken) return taken.error().during(path(item));
    auto flags = take_flags(*item.node, file, "", options_.projects);
    if (!flags) return flags.error().during(path(item));
    note(*item.node, *taken, *flags);
    // The times' ground is taken before the content, so what changes meanwhile shows later.
    return item.node->size <= kSmallFile && !item.node->has(Node::kSparse)
               ? read_small(item, opened)
               : send_large(item, opened);
  }

  // It is sent with the others of its batch, when all of them are hashed.
  Status read_small(const FileItem& item, Opened& opened) {
    const auto wanted = static_cast<size_t>(item.node->size);
    if (!contents_.read(opened.file.get(), wanted)) return lost(item, "read", errno);
    opened.cache.finish();
    const size_t have = contents_.length(small_.size());
    small_.push_back({&item, sure_, changed_});
    if (have < wanted && options_.final) return shorter(item);
    count(static_cast<int64_t>(have));
    return {};
  }

  Status send_contents() {
    contents_.hash();
    for (size_t i = 0; i < small_.size(); ++i) {
      sent_ = false;
      send_content(small_[i], contents_.content(i), contents_.digest(i));
      if (sent_) ++sender_.sent_;
      if (out_.size() >= kFrame) TRANSSHIP_TRY(flush());
    }
    contents_.clear();
    small_.clear();
    return {};
  }

  void send_content(const Small& read, std::string_view content, const Sha256::Digest& digest) {
    const FileItem& item = *read.item;
    Node& node = *item.node;
    const bool complete = static_cast<int64_t>(content.size()) == node.size;
    // One that came in pieces may have holes at the receiver.
    const bool in_pieces = node.extra && node.extra->blocks.block != 0;
    const bool fresh = node.has(Node::kFresh);
    if (fresh || digest != node.content || !complete || in_pieces) {
      start(fresh ? Op::kNewFile : Op::kFileContent, item)
          .metadata(node)
          .digest(digest)
          .text(content);
    } else if (read.changed) {
      start(Op::kMetadata, item).metadata(node);
    }
    node.content = digest;
    if (node.extra) node.extra->blocks = {};
    settle(node, complete && read.sure);
    node.size = static_cast<int64_t>(content.size());
  }

  Status send_large(const FileItem& item, Opened& opened) {
    Node& node = *item.node;
    const int file = opened.file.get();
    if (node.size > kLargestFile)
      return Error{ErrorCode::kInvalid, path(item) + " has more than 16 TiB, holes included"};
    auto extents = find_extents(file, node.size, "");
    if (!extents) return lost(item, "find the holes of", errno);
    BlockMap& known = node.more().blocks;
    const bool whole = node.has(Node::kFresh) || known.block == 0;
    block_ = whole ? options_.block : known.block;
    opening_ = node.has(Node::kFresh) ? Opening::kNew
               : whole                ? Opening::kEmptied
                                      : Opening::kAsItIs;
    BlockMap now{block_, {}, {extents->begin(), extents->end()}};
    opened_ = false;
    int64_t position = 0;
    while (position < node.size) {
      TRANSSHIP_TRY(options_.until.check("send the volume"));
      std::swap(content_, hashed_);
      const int64_t length = std::min(std::max(kChunk, block_), node.size - position);
      auto have = read_chunk(item, file, now, position, length);
      if (!have) return have.error();
      TRANSSHIP_TRY(send_chunk(item, now, known, position, *have, whole));
      position += *have;
      opened.cache.passed(position);
      if (*have < length) break;
    }
    if (position < node.size && options_.final) return shorter(item);
    const bool complete = position == node.size;
    node.size = position;
    if (!whole) TRANSSHIP_TRY(send_holes(item, now, known));
    return close_large(item, std::move(now), whole, complete);
  }

  // Into `content_`, zeros where there is a hole; as many bytes as the file still has.
  Result<int64_t> read_chunk(const FileItem& item, int file, const BlockMap& now, int64_t offset,
                             int64_t length) {
    if (content_.size() < static_cast<size_t>(length)) content_.resize(static_cast<size_t>(length));
    if (intersection(now.extents, {offset, length}).empty()) {
      std::fill_n(content_.begin(), length, '\0');
      return length;
    }
    int64_t have = 0;
    while (have < length) {
      const ssize_t n =
          ::pread(file, content_.data() + have, static_cast<size_t>(length - have), offset + have);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (options_.final || !is_loss(errno)))
        return path_error("read", plain_path(item), errno);
      if (n <= 0) break;  // shorter than it was
      have += n;
    }
    // Only what was data when the file was looked at is sent: what came into a hole since then must
    // not be hashed either, and is the next round's.
    clear_holes(now.extents, {offset, have}, content_.data());
    return have;
  }

  Status send_chunk(const FileItem& item, BlockMap& now, const BlockMap& known, int64_t offset,
                    int64_t length, bool whole) {
    const std::string_view content =
        std::string_view(content_).substr(0, static_cast<size_t>(length));
    hash_.update(content, item.node->size >= kHashedAside && sender_.busy_ == 1);
    count(length);
    Extent pending;  // data to be sent, not cut into blocks
    for (int64_t at = 0; at < length; at += block_) {
      const int64_t size = std::min(block_, length - at);
      const auto block = content.substr(static_cast<size_t>(at), static_cast<size_t>(size));
      const BlockDigest digest = block_digest(as_bytes(block));
      const size_t index = now.digests.size();
      now.digests.push_back(digest);
      const bool same = !whole && index < known.digests.size() && known.digests[index] == digest;
      for (const Extent& data : intersection(now.extents, {offset + at, size})) {
        if (same && was_data(known.extents, data.offset, data.length)) continue;
        if (pending.length > 0 && pending.end() == data.offset) {
          pending.length += data.length;
          continue;
        }
        TRANSSHIP_TRY(send_data(item, offset, content, pending));
        pending = data;
      }
    }
    return send_data(item, offset, content, pending);
  }

  Status send_data(const FileItem& item, int64_t offset, std::string_view content,
                   const Extent& data) {
    if (data.length == 0) return {};
    open_large(item);
    Encoder(out_)
        .op(Op::kData)
        .number(item.id)
        .number(static_cast<uint64_t>(data.offset))
        .text(content.substr(static_cast<size_t>(data.offset - offset),
                             static_cast<size_t>(data.length)));
    return out_.size() >= kFrame ? flush() : Status();
  }

  void open_large(const FileItem& item) {
    if (opened_) return;
    opened_ = true;
    start(Op::kOpenFile, item)
        .number(static_cast<uint64_t>(opening_))
        .number(static_cast<uint64_t>(item.node->size));
  }

  // What was data at the receiver and is none any more.
  Status send_holes(const FileItem& item, const BlockMap& now, const BlockMap& known) {
    int64_t position = 0;
    for (size_t i = 0; i <= now.extents.size(); ++i) {
      const int64_t end = i < now.extents.size() ? now.extents[i].offset : item.node->size;
      for (const Extent& hole : intersection(known.extents, {position, end - position})) {
        open_large(item);
        // To a block's end, where the file once ended within one: else that would stay allocated.
        const int64_t to = std::min(end, (hole.end() + kHoleUnit - 1) / kHoleUnit * kHoleUnit);
        Encoder(out_)
            .op(Op::kHole)
            .number(item.id)
            .number(static_cast<uint64_t>(hole.offset))
            .number(static_cast<uint64_t>(to - hole.offset));
        if (out_.size() >= kFrame) TRANSSHIP_TRY(flush());
      }
      if (i < now.extents.size()) position = now.extents[i].end();
    }
    return {};
  }

  Status close_large(const FileItem& item, BlockMap now, bool whole, bool complete) {
    Node& node = *item.node;
    const Sha256::Digest digest = hash_.finish();
    if (whole || opened_ || digest != node.content) {
      open_large(item);
      Encoder(out_)
          .op(Op::kCloseFile)
          .number(item.id)
          .metadata(node)
          .number(static_cast<uint64_t>(node.size))
          .digest(digest);
    } else if (changed_) {
      start(Op::kMetadata, item).metadata(node);
    }
    // Until the round is over the receiver may have the file as it was.
    if (!whole && digest != node.content)
      node.extra->before =
          std::make_unique<MappedContent>(node.content, std::move(node.extra->blocks));
    node.content = digest;
    node.extra->blocks = std::move(now);
    settle(node, complete && sure_);
    return {};
  }

  Status send_other(const FileItem& item) {
    Node& node = *item.node;
    const XattrPlace place(item.handle->get(), std::string(item.name), options_.xattrs);
    bool retargeted = false;
    if (S_ISLNK(node.mode)) {
      std::string target(PATH_MAX, '\0');
      const ssize_t length = ::readlinkat(item.handle->get(), std::string(item.name).c_str(),
                                          target.data(), target.size());
      if (length < 0) return lost(item, "read link", errno);
      target.resize(static_cast<size_t>(length));
      retargeted = node.more().link_target != std::string_view(target);
      node.extra->link_target = target;
    }
    auto taken =
        take_xattrs(node, place, item.handle->get(), std::string(item.name), options_.final);
    if (!taken && taken.error().code == ErrorCode::kNotFound && !options_.final) return {};
    if (!taken) return taken.error().during(path(item));
    auto flags = take_flags(node, item.handle->get(), std::string(item.name), options_.projects);
    if (!flags && flags.error().code == ErrorCode::kNotFound && !options_.final) return {};
    if (!flags) return flags.error().during(path(item));
    note(node, *taken, *flags);
    if (changed_ || retargeted)
      start(node.has(Node::kFresh) ? Op::kNewNode : Op::kMetadata, item).metadata(node);
    settle(node, sure_);
    return {};
  }

  // The operation that has the item's place in it.
  Encoder start(Op op, const FileItem& item) {
    sent_ = true;
    Encoder encoder(out_);
    encoder.op(op).number(item.id).place(item.directory, item.name);
    return encoder;
  }

  void note(const Node& node, const XattrsTaken& taken, bool other_flags) {
    sure_ = taken.sure;
    changed_ = taken.changed || other_flags || node.has(Node::kFresh | Node::kStale);
  }

  // The next round will see what became of it.
  Status lost(const FileItem& item, const char* tried, int error) {
    if (!is_loss(error)) return path_error(tried, plain_path(item), error);
    if (!options_.final) return {};
    return Error{ErrorCode::kConflict, path_error(tried, plain_path(item), error).message +
                                           ": it vanished while the volume was read"};
  }

  [[nodiscard]] Error shorter(const FileItem& item) const {
    return {ErrorCode::kConflict, path(item) + " became shorter while it was read"};
  }

  static void settle(Node& node, bool complete) {
    node.clear(Node::kFresh | Node::kStale | Node::kUnsure);
    if (!complete) node.set(Node::kStale);
  }

  Status flush() {
    if (out_.size() == kFrameHead) return {};
    const Status written = sender_.out_.write_whole(FrameKind::kNodes, out_);
    out_.resize(kFrameHead);
    return written;
  }

  void count(int64_t bytes) const {
    if (options_.progress != nullptr) options_.progress->bytes += bytes;
  }
  [[nodiscard]] std::string plain_path(const FileItem& item) const {
    return sender_.inventory_.path(item.directory, item.name);
  }
  [[nodiscard]] std::string path(const FileItem& item) const { return quoted(plain_path(item)); }

  static const inline std::string kNoPath;

  FileSender& sender_;
  const Options& options_;
  std::vector<Opened> files_;  // the items' files
  ContentBatch contents_;
  std::vector<Small> small_;                         // whose contents those are
  std::string content_;                              // a part of a large file
  std::string out_ = std::string(kFrameHead, '\0');  // a frame
  std::string hashed_;                               // the part before it
  Sha256Aside hash_;                                 // of a large file
  Opening opening_ = Opening::kNew;                  // of the large file
  int64_t block_ = 0;                                // its
  bool opened_ = false;                              // it is, at the receiver
  bool sure_ = true;                                 // of the item's metadata
  bool changed_ = true;                              // the receiver has other metadata
  bool sent_ = false;                                // there is an operation of the item's
};

FileSender::FileSender(const Inventory& inventory, FrameWriter& out, const Options& options)
    : inventory_(inventory), out_(out), options_(options), workers_("read", kLimits, [this] {
        return
            [this, worker = std::make_shared<Worker>(*this)](const std::vector<FileItem>& items) {
              ++busy_;
              Status sent = worker->send(items);
              --busy_;
              return sent;
            };
      }) {}

Status FileSender::add(FileItem item) {
  const int64_t bytes = item.node->size;
  return workers_.add(std::move(item), bytes);
}

}  // namespace transship::transfer
