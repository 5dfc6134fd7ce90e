#include "transfer/tree_receiver.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace transship::transfer {

Result<Received> TreeReceiver::run() {
  projects_.carried = options_.projects;
  auto own = options_.projects ? root_project(root_) : Result<uint32_t>(0U);
  if (!own) return own.error();
  projects_.target = *own;
  TRANSSHIP_TRY(out_.begin());
  while (true) {
    auto header = in_.read_header();
    if (!header) return header.error();
    TRANSSHIP_TRY(check_previous(*header));
    TRANSSHIP_TRY(count(*header));
    TRANSSHIP_TRY(take_projects(*header));
    if (header->end) return receive_end(*header);
    TRANSSHIP_TRY(receive(*header));
  }
}

Status TreeReceiver::check_previous(const EntryHeader& header) {
  if (header.previous != previous_) {
    return corrupt(previous_path_.empty() ? header.entry.path : previous_path_,
                   "its content does not have the SHA-256 that was sent with it");
  }
  previous_.reset();
  previous_path_.clear();
  return {};
}

Status TreeReceiver::count(const EntryHeader& header) {
  ++totals_.entries;
  if (options_.progress != nullptr) ++options_.progress->entries;
  if (totals_.entries > options_.limits.entries) {
    return corrupt(header.entry.path, "the volume has more entries than the " +
                                          std::to_string(options_.limits.entries) + " allowed");
  }
  if (header.entry.size > options_.limits.bytes - totals_.bytes) {
    return corrupt(header.entry.path, "the volume has more bytes than the " +
                                          std::to_string(options_.limits.bytes) + " allowed");
  }
  if (header.entry.size > kLargestFile)
    return corrupt(header.entry.path, "it has more than the 16 TiB allowed");
  totals_.bytes += header.entry.size;
  return {};
}

Status TreeReceiver::receive(const EntryHeader& header) {
  TRANSSHIP_TRY(Spill::of_process().check());
  const Entry& entry = header.entry;
  if (header.hard_link) {
    auto target = out_.create_link(entry.path, *header.hard_link);
    if (!target) return target.error();
    manifest_.add_link(*target, entry.path);
    return {};
  }
  if (entry.kind == EntryKind::kRegular) {
    TRANSSHIP_TRY(receive_file(header));
  } else {
    TRANSSHIP_TRY(out_.create_other(entry));
  }
  const size_t index = manifest_.add(entry, header.linkable ? manifest_.entries().size() + 1 : 0);
  if (previous_) manifest_.set_content(index, *previous_);
  return header.linkable ? out_.remember_linkable(entry, index) : Status();
}

Status TreeReceiver::take_projects(EntryHeader& header) {
  Entry& entry = header.entry;
  const uint32_t project = entry.attributes.project;
  const bool inherits = (entry.attributes.flags & InodeAttributes::kProjectInherit) != 0;
  if (!options_.projects && (project != 0 || inherits || header.volume_project != 0))
    return corrupt(entry.path, "it has a project id, which is not carried for this volume");
  const bool first = totals_.entries == 1;
  if (first) projects_.source = header.volume_project;
  if ((!first && header.volume_project != 0) || (header.end && project != projects_.source))
    return corrupt(entry.path, "the volume has another project id than its first entry says");
  const bool directory = entry.kind == EntryKind::kDirectory;
  const bool opens = directory || entry.kind == EntryKind::kRegular;
  projects_.translate({-1, opens ? "" : entry.path, directory}, entry.attributes);
  return {};
}

Status TreeReceiver::receive_file(const EntryHeader& header) {
  auto file = out_.create_file(header.entry);
  if (!file) return file.error();
  TRANSSHIP_TRY(receive_data(header, file->get()));
  TRANSSHIP_TRY(in_.read_padding(header.stored_bytes));
  previous_ = content_.finish();
  previous_path_ = header.entry.path;
  return out_.finish_file(header.entry, file->get());
}

Status TreeReceiver::receive_data(const EntryHeader& header, int file) {
  const Entry& entry = header.entry;
  if (!header.sparse) return receive_range(entry, file, {0, entry.size});
  auto extents = in_.read_sparse_map(header);
  if (!extents) return extents.error();
  if (is_dense(*extents, entry.size)) return corrupt(entry.path, "it is sparse, but has no holes");
  if (::ftruncate(file, entry.size) < 0) return path_error("set the size of", entry.path, errno);
  int64_t position = 0;
  for (const Extent& extent : *extents) {
    TRANSSHIP_TRY(skip(extent.offset - position));
    TRANSSHIP_TRY(receive_range(entry, file, extent));
    position = extent.end();
  }
  return skip(entry.size - position);
}

Status TreeReceiver::skip(int64_t count) {
  while (count > 0) {
    const int64_t part = std::min<int64_t>(count, 64 << 20);
    TRANSSHIP_TRY(options_.until.check("receive the volume"));
    content_.update_zeros(part);
    if (options_.progress != nullptr) options_.progress->bytes += part;
    count -= part;
  }
  return {};
}

Status TreeReceiver::receive_range(const Entry& entry, int file, const Extent& extent) {
  int64_t position = extent.offset;
  while (position < extent.end()) {
    auto data = in_.read_data(extent.end() - position);
    if (!data) return data.error().during("receive " + quoted(entry.path));
    content_.update(*data);
    if (!write_at(file, *data, position)) return path_error("write", entry.path, errno);
    const auto size = static_cast<int64_t>(data->size());
    position += size;
    if (options_.progress != nullptr) options_.progress->bytes += size;
  }
  return {};
}

Result<Received> TreeReceiver::receive_end(const EntryHeader& header) {
  TRANSSHIP_TRY(in_.read_end());
  manifest_.add(header.entry, 0);
  manifest_.sort();
  const Summary summary{totals_, manifest_.digest()};
  const EndRecord& end = *header.end;
  if (TreeTotals{end.bytes, end.entries} != totals_) {
    return Error{ErrorCode::kCorrupt, "the stream's end record has other totals than its entries"};
  }
  if (end.digest != summary.digest) {
    return Error{ErrorCode::kCorrupt, "what came has the volume digest " + summary.digest +
                                          ", what was sent has " + end.digest};
  }
  TRANSSHIP_TRY(out_.finish(header.entry));
  return Received{summary, std::move(manifest_)};
}

Result<Received> receive_tree(int directory, Source& source, const ReceiveOptions& options) {
  return TreeReceiver(directory, source, options).run();
}

}  // namespace transship::transfer
