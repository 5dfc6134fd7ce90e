#include "transfer/tree_sender.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "transfer/beneath.h"
#include "transfer/entry_reader.h"
#include "transfer/project_ids.h"

namespace transship::transfer {
namespace {

constexpr size_t kMaxHeader = 1 << 20;  // ReceiveLimits' defaults
constexpr size_t kMaxPath = 64 << 10;

// FNV-1a over what changes when a file does.
uint64_t fingerprint(const struct statx& stat) {
  uint64_t hash = 14695981039346656037U;
  const auto add = [&hash](auto number) {
    hash = (hash ^ static_cast<uint64_t>(number)) * 1099511628211U;
  };
  add(stat.stx_ino);
  add(stat.stx_mode);
  add(stat.stx_size);
  add(stat.stx_mtime.tv_sec);
  add(stat.stx_mtime.tv_nsec);
  add(stat.stx_ctime.tv_sec);
  add(stat.stx_ctime.tv_nsec);
  return hash;
}

Error changed_since(const std::string& path) {
  return {ErrorCode::kConflict, quoted(path) +
                                    " changed after it was read: is the pod, or somebody else, "
                                    "still writing?"};
}

}  // namespace

Result<Summary> TreeSender::run() {
  auto project = options_.projects ? root_project(root_) : Result<uint32_t>(0U);
  if (!project) return project.error();
  volume_project_ = *project;
  TreeWalk walk(root_, {/*strict=*/true, options_.until});
  TRANSSHIP_TRY(walk.run([this](const WalkedEntry& walked) { return send(walked); }));
  if (root_entry_.attributes.project != *project) return changed_since(".");
  TRANSSHIP_TRY(check_nothing_changed());
  return send_end();
}

Status TreeSender::send(const WalkedEntry& walked) {
  if (walked.path.size() > kMaxPath) {
    return Error{ErrorCode::kInvalid, quoted(walked.path) + " is too long a path: at most " +
                                          std::to_string(kMaxPath) + " bytes can be carried"};
  }
  fingerprints_.push_back(fingerprint(walked.stat));
  count_entry();
  if (walked.parent < 0) {
    auto entry = read_entry(walked, -1, options_.projects);
    if (!entry) return entry.error();
    root_entry_ = std::move(entry).value();
    return {};
  }
  const auto link = walked.directory < 0 ? links_.find(walked.stat.stx_ino) : links_.end();
  if (link != links_.end()) {
    TRANSSHIP_TRY(send_link(walked, link->second));
    if (--link->second.more == 0) links_.erase(link);
    return {};
  }
  return S_ISREG(walked.stat.stx_mode) ? send_file(walked) : send_other(walked);
}

Status TreeSender::send_file(const WalkedEntry& walked) {
  auto file = open_walked_file(walked);
  if (!file) return file.error();
  auto entry = read_entry(walked, file->get(), options_.projects);
  if (!entry) return entry.error();
  if (entry->size > kLargestFile)
    return Error{ErrorCode::kInvalid,
                 quoted(walked.path) + " has more than 16 TiB, holes included"};
  std::vector<Extent> extents;
  if (entry->size > 0) extents.push_back({0, entry->size});
  if (static_cast<int64_t>(walked.stat.stx_blocks) * 512 < entry->size) {
    auto found = find_extents(file->get(), entry->size, walked.path);
    if (!found) return found.error();
    extents = std::move(found).value();
  }
  EntryHeader header;
  header.entry = std::move(entry).value();
  header.linkable = walked.stat.stx_nlink > 1;
  header.sparse = !is_dense(extents, header.entry.size);
  const std::string map = header.sparse ? encode_sparse_map(extents, header.entry.size) : "";
  header.stored_bytes = static_cast<int64_t>(map.size()) + data_bytes(extents);
  TRANSSHIP_TRY(send_header(header));
  TRANSSHIP_TRY(remember(walked, header.entry));
  headers_.update(map);
  TRANSSHIP_TRY(out_.write(map));
  TRANSSHIP_TRY(send_data(walked, file->get(), extents));
  TRANSSHIP_TRY(out_.write_zeros(tar_padding(header.stored_bytes)));
  totals_.bytes += header.entry.size;
  return check_unchanged(walked, file->get());
}

Status TreeSender::send_data(const WalkedEntry& walked, int file,
                             const std::vector<Extent>& extents) {
  const auto size = static_cast<int64_t>(walked.stat.stx_size);
  int64_t position = 0;
  for (const Extent& extent : extents) {
    TRANSSHIP_TRY(skip(extent.offset - position));
    TRANSSHIP_TRY(send_range(walked, file, extent));
    position = extent.end();
  }
  TRANSSHIP_TRY(skip(size - position));
  previous_ = content_.finish();
  manifest_.set_content(last_, *previous_);
  return {};
}

Status TreeSender::skip(int64_t count) {
  while (count > 0) {
    const int64_t part = std::min<int64_t>(count, 64 << 20);
    TRANSSHIP_TRY(options_.until.check("send the volume"));
    content_.update_zeros(part);
    if (options_.progress != nullptr) options_.progress->bytes += part;
    count -= part;
  }
  return {};
}

Status TreeSender::send_range(const WalkedEntry& walked, int file, const Extent& extent) {
  int64_t position = extent.offset;
  while (position < extent.end()) {
    MutableBytes space = out_.space();
    space = space.first(std::min(
        space.size(), static_cast<size_t>(std::min<int64_t>(extent.end() - position, 1 << 30))));
    const ssize_t n = ::pread(file, space.data(), space.size(), position);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return path_error("read", walked.path, errno);
    if (n == 0) {
      return Error{ErrorCode::kConflict, quoted(walked.path) + " became shorter while it was read"};
    }
    content_.update(Bytes(space).first(static_cast<size_t>(n)));
    TRANSSHIP_TRY(out_.filled(static_cast<size_t>(n)));
    position += n;
    if (options_.progress != nullptr) options_.progress->bytes += n;
  }
  return {};
}

Status TreeSender::send_other(const WalkedEntry& walked) {
  auto entry = read_entry(walked, -1, options_.projects);
  if (!entry) return entry.error();
  EntryHeader header;
  header.entry = std::move(entry).value();
  header.linkable = walked.directory < 0 && walked.stat.stx_nlink > 1;
  TRANSSHIP_TRY(send_header(header));
  return remember(walked, header.entry);
}

Status TreeSender::send_link(const WalkedEntry& walked, Link& link) {
  EntryHeader header;
  header.entry.path = walked.path;
  auto metadata = entry_of(walked.stat);
  if (!metadata) return metadata.error();
  header.entry.mode = metadata->mode;
  header.entry.uid = metadata->uid;
  header.entry.gid = metadata->gid;
  header.entry.mtime_seconds = metadata->mtime_seconds;
  header.entry.mtime_nanoseconds = metadata->mtime_nanoseconds;
  header.hard_link = manifest_.entries()[link.first].path();
  last_ = manifest_.add_link(link.first, walked.path);
  return send_header(header);
}

Status TreeSender::send_header(EntryHeader& header) {
  header.previous = previous_;
  previous_.reset();
  header.volume_project = std::exchange(volume_project_, 0);
  auto bytes = encode_entry_header(header, headers_, kMaxHeader);
  if (!bytes) return bytes.error();
  return out_.write(*bytes);
}

Status TreeSender::remember(const WalkedEntry& walked, const Entry& entry) {
  const bool linked = walked.directory < 0 && walked.stat.stx_nlink > 1;
  last_ = manifest_.add(entry, linked ? walked.stat.stx_ino + 1 : 0);
  if (linked) links_[walked.stat.stx_ino] = {last_, walked.stat.stx_nlink - 1};
  return Spill::of_process().check();
}

Status TreeSender::check_nothing_changed() {
  TreeWalk walk(root_, {/*strict=*/true, options_.until});
  size_t index = 0;
  TRANSSHIP_TRY(walk.run([&](const WalkedEntry& walked) -> Status {
    if (index == fingerprints_.size() || fingerprints_[index] != fingerprint(walked.stat)) {
      return changed_since(walked.path);
    }
    ++index;
    return {};
  }));
  return index == fingerprints_.size() ? Status() : changed_since(".");
}

Result<Summary> TreeSender::send_end() {
  manifest_.add(root_entry_, 0);
  manifest_.sort();
  const Summary summary{totals_, manifest_.digest()};
  EntryHeader header;
  header.entry = std::move(root_entry_);
  header.end = EndRecord{totals_.entries, totals_.bytes, summary.digest, {}};
  TRANSSHIP_TRY(send_header(header));
  TRANSSHIP_TRY(out_.write_zeros(2 * kTarBlock));
  TRANSSHIP_TRY(out_.finish());
  return summary;
}

void TreeSender::count_entry() {
  ++totals_.entries;
  if (options_.progress != nullptr) ++options_.progress->entries;
}

Result<Summary> send_tree(int directory, Sink& sink, const SendOptions& options) {
  return TreeSender(directory, sink, options).run();
}

}  // namespace transship::transfer
