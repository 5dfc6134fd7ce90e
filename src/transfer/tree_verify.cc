#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <future>
#include <thread>
#include <unordered_map>

#include "transfer/beneath.h"
#include "transfer/entry_reader.h"
#include "transfer/tree.h"
#include "transfer/tree_walk.h"

namespace transship::transfer {
namespace {

constexpr size_t kBuffer = size_t{256} << 10U;

// What one thread reads of a tree: all metadata where it keeps the manifest, and the content of its
// share of the files.
struct Share {
  Manifest manifest;
  TreeTotals totals;
  std::unordered_map<uint64_t, Sha256::Digest> contents;  // by inode
  std::vector<std::pair<size_t, uint64_t>> files;         // of the manifest: entry, inode
};

class ShareReader {
 public:
  ShareReader(int root, unsigned share, unsigned shares, const Until& until, Progress* progress)
      : root_(root), share_(share), shares_(shares), until_(until), progress_(progress), buffer_(kBuffer) {}

  Result<Share> run() {
    TreeWalk walk(root_, {/*strict=*/true, until_});
    TRANSSHIP_TRY(walk.run([this](const WalkedEntry& walked) { return visit(walked); }));
    return std::move(out_);
  }

 private:
  Status visit(const WalkedEntry& walked) {
    const uint64_t inode = walked.stat.stx_ino;
    const bool regular = S_ISREG(walked.stat.stx_mode);
    const bool linked = walked.directory < 0 && walked.stat.stx_nlink > 1;
    const bool first = !linked || seen_.emplace(inode, 0).second;
    UniqueFd file;
    const bool mine = regular && first && (inode / 2) % shares_ == share_;
    if (regular && (mine || (share_ == 0 && first))) {
      auto opened = open_walked_file(walked);
      if (!opened.ok()) return opened.error();
      file = std::move(opened).value();
    }
    if (mine) TRANSSHIP_TRY(hash(walked, file.get()));
    if (share_ == 0) TRANSSHIP_TRY(remember(walked, file.get(), linked, first));
    return {};
  }

  Status remember(const WalkedEntry& walked, int file, bool linked, bool first) {
    ++out_.totals.entries;
    if (progress_ != nullptr) ++progress_->verified_entries;
    if (S_ISREG(walked.stat.stx_mode) && first) out_.totals.bytes += static_cast<int64_t>(walked.stat.stx_size);
    auto entry = read_entry(walked, file);
    if (!entry.ok()) return entry.error();
    const size_t index = out_.manifest.add(*entry, linked ? walked.stat.stx_ino + 1 : 0);
    if (S_ISREG(walked.stat.stx_mode)) out_.files.emplace_back(index, walked.stat.stx_ino);
    return {};
  }

  Status hash(const WalkedEntry& walked, int file) {
    Sha256 content;
    for (int64_t position = 0;;) {
      TRANSSHIP_TRY(until_.check("read back the volume"));
      const ssize_t n = ::pread(file, buffer_.data(), buffer_.size(), position);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return path_error("read back", walked.path, errno);
      if (n == 0) break;
      content.update(Bytes(buffer_).first(static_cast<size_t>(n)));
      position += n;
      if (progress_ != nullptr) progress_->verified_bytes += n;
    }
    out_.contents[walked.stat.stx_ino] = content.finish();
    return {};
  }

  int root_;
  unsigned share_;
  unsigned shares_;
  const Until& until_;
  Progress* progress_;
  std::vector<std::byte> buffer_;
  std::unordered_map<uint64_t, int> seen_;  // inodes with several names
  Share out_;
};

// Reads the tree with two threads.
Result<Share> read_tree(int directory, const Until& until, Progress* progress) {
  auto second = std::async(std::launch::async, [&] { return ShareReader(directory, 1, 2, until, progress).run(); });
  auto share = ShareReader(directory, 0, 2, until, progress).run();
  auto other = second.get();
  if (!share.ok()) return share;
  if (!other.ok()) return other;
  for (const auto& [index, inode] : share->files) {
    const auto& contents = share->contents.count(inode) != 0 ? share->contents : other->contents;
    const auto content = contents.find(inode);
    if (content == contents.end()) {
      return Error{ErrorCode::kConflict, "the volume changed while it was read back"};
    }
    share->manifest.set_content(index, content->second);
  }
  share->manifest.sort();
  return share;
}

}  // namespace

Result<Summary> digest_tree(int directory, const Until& until, Progress* progress) {
  auto share = read_tree(directory, until, progress);
  if (!share.ok()) return share.error();
  return Summary{share->totals, share->manifest.digest()};
}

Result<Summary> verify_tree(int directory, const Manifest& manifest, const Until& until, Progress* progress) {
  auto root = open_beneath(directory, ".", O_RDONLY | O_DIRECTORY, ".");
  if (!root.ok()) return root.error();
  if (::syncfs(root->get()) != 0) return errno_error("sync the volume", errno);
  auto share = read_tree(directory, until, progress);
  if (!share.ok()) return share.error();
  TRANSSHIP_TRY(manifest.compare(share->manifest));
  return Summary{share->totals, share->manifest.digest()};
}

Result<Summary> copy_tree(int from, int to, const Until& until, Progress* progress) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("make a pipe", errno);
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  SendOptions sending;
  sending.until = until;
  auto sent = std::async(std::launch::async, [&]() -> Result<Summary> {
    FdSink sink(writing.get(), "the pipe between both ends of a copy");
    auto done = send_tree(from, sink, sending);
    writing.reset();
    return done;
  });
  ReceiveOptions receiving;
  receiving.until = until;
  receiving.progress = progress;
  FdSource source(reading.get(), "the pipe between both ends of a copy");
  auto received = receive_tree(to, source, receiving);
  reading.reset();  // a sender that is still writing gets EPIPE
  auto summary = sent.get();
  // Of two errors the receiver's is the cause where the sender only lost its reader.
  if (!received.ok() && (summary.ok() || summary.error().code == ErrorCode::kUnavailable)) return received.error();
  if (!summary.ok()) return summary.error();
  return verify_tree(to, received->manifest, until, progress);
}

}  // namespace transship::transfer
