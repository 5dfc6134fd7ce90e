#include "transfer/manifest.h"

#include <algorithm>
#include <cstdio>
#include <unordered_map>

#include "transfer/differences.h"
#include "transfer/entry.h"

namespace transship::transfer {
namespace {

std::string find_record(const Entry& entry) {
  return entry.path + find_record_tail(entry.kind, entry.mode, entry.uid, entry.gid,
                                       entry.mtime_seconds, entry.mtime_nanoseconds,
                                       entry.link_target);
}

Sha256::Digest attributes_digest(const Entry& entry) {
  const auto field = [](std::string_view text) {
    return std::to_string(text.size()) + ":" + std::string(text);
  };
  std::string text = std::to_string(entry.size) + " " + std::to_string(entry.device_major) + " " +
                     std::to_string(entry.device_minor);
  for (const Xattr& xattr : entry.xattrs) text += field(xattr.name) + field(xattr.value);
  if (entry.attributes.any())
    text +=
        " " + flag_names(entry.attributes.flags) + " " + std::to_string(entry.attributes.project);
  Sha256 sha;
  sha.update(text);
  return sha.finish();
}

// What differs between two entries of one path; "" for nothing.
std::string difference(const ManifestEntry& expected, const ManifestEntry& found) {
  if (expected.record != found.record) {
    const auto shown = [](const ManifestEntry& entry) {
      return quoted(std::string_view(entry.record).substr(entry.path_length + 1));
    };
    return "is " + shown(found) + " instead of " + shown(expected);
  }
  if (expected.content != found.content) return "has other content";
  if (expected.attributes != found.attributes) {
    return "has another size, device number or project id, or other extended attributes or inode "
           "flags";
  }
  if (expected.link_group != found.link_group) return "is hard-linked to other names";
  return "";
}

// The entries by path: records of one manifest sort by path only nearly ("./a b" and "./a").
SpillVector<const ManifestEntry*> by_path(const SpillVector<ManifestEntry>& entries,
                                          bool regular_only) {
  SpillVector<const ManifestEntry*> pointers;
  pointers.reserve(entries.size());
  for (const ManifestEntry& entry : entries) {
    if (!regular_only || entry.regular) pointers.push_back(&entry);
  }
  std::sort(pointers.begin(), pointers.end(),
            [](const auto* a, const auto* b) { return a->path() < b->path(); });
  return pointers;
}

}  // namespace

std::string find_record_tail(EntryKind kind, uint32_t permissions, uint32_t uid, uint32_t gid,
                             int64_t mtime_seconds, uint32_t mtime_nanoseconds,
                             std::string_view link_target) {
  char numbers[128];
  std::snprintf(numbers, sizeof numbers, " %c %o %u:%u %lld.%09u0 ", static_cast<char>(kind),
                permissions, uid, gid, static_cast<long long>(mtime_seconds), mtime_nanoseconds);
  return std::string(numbers).append(link_target);
}

size_t Manifest::add(const Entry& entry, uint64_t link_group) {
  ManifestEntry added;
  added.record = find_record(entry);
  added.path_length = static_cast<uint32_t>(entry.path.size());
  added.regular = entry.kind == EntryKind::kRegular;
  added.attributes = attributes_digest(entry);
  added.link_group = link_group;
  entries_.push_back(std::move(added));
  return entries_.size() - 1;
}

size_t Manifest::add_link(size_t first, const std::string& path) {
  ManifestEntry added = entries_[first];
  added.record.replace(0, added.path_length, path);
  added.path_length = static_cast<uint32_t>(path.size());
  entries_.push_back(std::move(added));
  return entries_.size() - 1;
}

void Manifest::sort() {
  std::sort(entries_.begin(), entries_.end(),
            [](const auto& a, const auto& b) { return a.record < b.record; });
  struct Group {
    size_t first = 0;
    bool several = false;
  };
  std::unordered_map<uint64_t, Group> groups;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].link_group == 0) continue;
    const auto [group, fresh] = groups.try_emplace(entries_[i].link_group, Group{i, false});
    if (!fresh) group->second.several = true;
  }
  for (ManifestEntry& entry : entries_) {
    if (entry.link_group == 0) continue;
    const Group& group = groups[entry.link_group];
    // Named by the group's first path, so that one path amiss does not look like all being amiss.
    entry.link_group =
        group.several ? std::hash<std::string_view>{}(entries_[group.first].path()) | 1U : 0;
  }
}

std::string Manifest::digest() const {
  static constexpr std::string_view kNul("\0", 1);
  Sha256 sha;
  for (const ManifestEntry& entry : entries_) {
    sha.update(entry.record);
    sha.update(kNul);
  }
  for (const ManifestEntry* entry : by_path(entries_, /*regular_only=*/true)) {
    sha.update(to_hex(entry->content));
    sha.update("  ");
    sha.update(entry->path());
    sha.update(kNul);
  }
  return "sha256:" + to_hex(sha.finish());
}

Status Manifest::compare(const Manifest& found) const {
  const auto mine = by_path(entries_, false);
  const auto theirs = by_path(found.entries_, false);
  Differences differences;
  size_t i = 0;
  size_t j = 0;
  while (i < mine.size() || j < theirs.size()) {
    if (j == theirs.size() || (i < mine.size() && mine[i]->path() < theirs[j]->path())) {
      differences.add(mine[i++]->path(), "is missing");
    } else if (i == mine.size() || theirs[j]->path() < mine[i]->path()) {
      differences.add(theirs[j++]->path(), "was not sent");
    } else {
      const std::string what = difference(*mine[i++], *theirs[j]);
      if (!what.empty()) differences.add(theirs[j]->path(), what);
      ++j;
    }
  }
  return differences.status();
}

}  // namespace transship::transfer
