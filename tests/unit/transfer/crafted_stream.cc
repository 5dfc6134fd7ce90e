#include "crafted_stream.h"

#include <gtest/gtest.h>

namespace transship::transfer {

Entry entry_at(const std::string& path, EntryKind kind) {
  Entry entry;
  entry.path = path;
  entry.kind = kind;
  entry.mode = 0755;
  entry.mtime_seconds = 1600000000;
  if (kind == EntryKind::kSymlink) {
    entry.mode = 0777;
    entry.link_target = "/tmp";
  }
  return entry;
}

void CraftedStream::add(Entry entry, const std::string& content) {
  EntryHeader header;
  entry.size = static_cast<int64_t>(content.size());
  header.entry = std::move(entry);
  add_raw(std::move(header), content);
}

void CraftedStream::add_linkable(Entry entry, const std::string& content) {
  EntryHeader header;
  entry.size = static_cast<int64_t>(content.size());
  header.entry = std::move(entry);
  header.linkable = true;
  add_raw(std::move(header), content);
}

void CraftedStream::add_link(const std::string& path, const std::string& target) {
  EntryHeader header;
  header.entry = entry_at(path, EntryKind::kRegular);
  header.hard_link = target;
  for (size_t i = 0; i < manifest_.entries().size(); ++i) {
    if (manifest_.entries()[i].path() == target) {
      manifest_.add_link(i, path);
      break;
    }
  }
  ++entries_;
  add_header(std::move(header));
}

void CraftedStream::add_raw(EntryHeader header, const std::string& data) {
  const size_t index = manifest_.add(header.entry, 0);
  ++entries_;
  total_ += header.entry.size;
  const bool regular = header.entry.kind == EntryKind::kRegular;
  header.stored_bytes = static_cast<int64_t>(data.size());
  add_header(std::move(header));
  if (!regular) return;
  Sha256 sha;
  sha.update(data);
  previous_ = sha.finish();
  manifest_.set_content(index, *previous_);
  bytes_ += data;
  bytes_.append(tar_padding(static_cast<int64_t>(data.size())), '\0');
}

void CraftedStream::add_header(EntryHeader header) {
  header.previous = previous_;
  previous_.reset();
  auto bytes = encode_entry_header(header, headers_, SIZE_MAX);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  bytes_ += *bytes;
}

const std::string& CraftedStream::finish() {
  return finish([](EntryHeader&) {});
}

const std::string& CraftedStream::finish(const std::function<void(EntryHeader&)>& change) {
  EntryHeader header;
  header.entry = entry_at(".", EntryKind::kDirectory);
  manifest_.add(header.entry, 0);
  manifest_.sort();
  header.end = EndRecord{entries_, total_, manifest_.digest(), {}};
  change(header);
  add_header(std::move(header));
  bytes_.append(2 * kTarBlock, '\0');
  return bytes_;
}

}  // namespace transship::transfer
