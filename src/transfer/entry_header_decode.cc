#include <algorithm>

#include "transfer/entry_header.h"
#include "transfer/pax.h"
#include "transfer/pax_keys.h"
#include "transfer/pax_time.h"

namespace transship::transfer {
namespace {

bool parse_id(std::string_view text, uint32_t& id) {
  int64_t number = 0;
  if (!parse_decimal(text, number) || number > UINT32_MAX) return false;
  id = static_cast<uint32_t>(number);
  return true;
}

bool take_type(const UstarHeader& block, EntryHeader& header) {
  Entry& entry = header.entry;
  switch (block.type) {
    case '0':
      return true;  // regular, or a socket by its record
    case '1':
      header.hard_link = block.link_name;
      return true;
    case '2':
      entry.kind = EntryKind::kSymlink;
      entry.link_target = block.link_name;
      return true;
    case '3':
      entry.kind = EntryKind::kCharDevice;
      return true;
    case '4':
      entry.kind = EntryKind::kBlockDevice;
      return true;
    case '5':
      entry.kind = EntryKind::kDirectory;
      return true;
    case '6':
      entry.kind = EntryKind::kFifo;
      return true;
    default:
      return false;
  }
}

bool take_end_record(std::string_view key, std::string_view value, EntryHeader& header) {
  if (!header.end) header.end.emplace();
  if (key == pax::kVersion) return value == pax::kVersionValue;
  if (key == pax::kEntries) return parse_decimal(value, header.end->entries);
  if (key == pax::kBytes) return parse_decimal(value, header.end->bytes);
  if (key == pax::kHeaders) return parse_hex(value, header.end->headers);
  if (key != pax::kDigest) return false;
  header.end->digest = value;
  return true;
}

bool take_flags(std::string_view value, Entry& entry) {
  const auto flags = parse_flag_names(value);
  entry.attributes.flags = flags.value_or(0);
  return flags.has_value();
}

bool take_vendor_record(std::string_view key, std::string_view value, EntryHeader& header) {
  if (key == pax::kType) {
    header.entry.kind = EntryKind::kSocket;
  } else if (key == pax::kProject) {
    return parse_id(value, header.entry.attributes.project);
  } else if (key == pax::kVolumeProject) {
    return parse_id(value, header.volume_project);
  } else if (key == pax::kLinkable) {
    header.linkable = true;
  } else if (key == pax::kPrevious) {
    return parse_hex(value, header.previous.emplace());
  } else {
    return take_end_record(key, value, header);
  }
  return true;
}

// False for a record that is malformed or that this format does not have. That the rest is as it
// must be shows when the header is encoded again.
bool take_record(std::string_view key, const std::string& value, EntryHeader& header) {
  Entry& entry = header.entry;
  if (key == pax::kPath || key == pax::kSparseName) {
    header.sparse = key == pax::kSparseName;
    entry.path = value;
  } else if (key == pax::kLinkPath) {
    (header.hard_link ? *header.hard_link : entry.link_target) = value;
  } else if (key == pax::kSize) {
    return parse_decimal(value, header.stored_bytes);
  } else if (key == pax::kSparseSize) {
    return parse_decimal(value, entry.size);
  } else if (key == pax::kUid) {
    return parse_id(value, entry.uid);
  } else if (key == pax::kGid) {
    return parse_id(value, entry.gid);
  } else if (key == pax::kMtime) {
    return parse_pax_time(value, entry.mtime_seconds, entry.mtime_nanoseconds);
  } else if (key.starts_with(pax::kXattr)) {
    entry.xattrs.push_back({pax::xattr_name(key), value});
  } else if (key == pax::kFlags) {
    return take_flags(value, entry);
  } else if (key.starts_with("TRANSSHIP.")) {
    return take_vendor_record(key, value, header);
  } else {
    return key == pax::kCharset || key == pax::kSparseMajor || key == pax::kSparseMinor;
  }
  return true;
}

bool take_fields(const UstarHeader& block, EntryHeader& header) {
  Entry& entry = header.entry;
  entry.path = block.name;
  entry.mode = block.mode;
  entry.uid = static_cast<uint32_t>(block.uid);
  entry.gid = static_cast<uint32_t>(block.gid);
  entry.device_major = block.device_major;
  entry.device_minor = block.device_minor;
  header.stored_bytes = block.size;
  return block.mode <= 07777 && take_type(block, header);
}

// What the records and fields must have to do with each other.
bool consistent(const EntryHeader& header) {
  const Entry& entry = header.entry;
  const bool regular = entry.kind == EntryKind::kRegular && !header.hard_link;
  const bool device = entry.kind == EntryKind::kCharDevice || entry.kind == EntryKind::kBlockDevice;
  const bool xattrs_ascend = std::adjacent_find(entry.xattrs.begin(), entry.xattrs.end(),
                                                [](const auto& a, const auto& b) {
                                                  return a.name >= b.name;
                                                }) == entry.xattrs.end();
  return xattrs_ascend && (regular || (header.stored_bytes == 0 && !header.sparse)) &&
         (device || (entry.device_major == 0 && entry.device_minor == 0)) &&
         (!header.hard_link || (entry.kind == EntryKind::kRegular && !header.linkable)) &&
         (entry.kind != EntryKind::kDirectory || !header.linkable) &&
         (entry.attributes.flags &
          ~InodeAttributes::carried(entry.kind == EntryKind::kDirectory, regular)) == 0 &&
         (!header.hard_link || !entry.attributes.any()) &&
         header.end.has_value() == (entry.path == ".") &&
         (!header.end || entry.kind == EntryKind::kDirectory);
}

}  // namespace

Result<EntryHeader> decode_entry_header(std::string_view records, const UstarBlock& block,
                                        Sha256& headers) {
  auto fields = decode_ustar(block);
  if (!fields) return fields.error();
  auto parsed = parse_pax_records(records);
  if (!parsed) return parsed.error();
  EntryHeader header;
  bool sound = take_fields(*fields, header);
  for (const auto& [key, value] : *parsed) sound = sound && take_record(key, value, header);
  if (header.entry.kind == EntryKind::kRegular && !header.sparse && !header.hard_link) {
    header.entry.size = header.stored_bytes;
  }
  if (!sound || !consistent(header)) {
    return corrupt(header.entry.path, "its header is not one of this format");
  }
  const std::optional<EndRecord> claimed = header.end;
  auto again = encode_entry_header(header, headers, SIZE_MAX);
  if (!again) return again.error();
  const std::string_view bytes(*again);
  if (claimed && claimed->headers != header.end->headers) {
    return corrupt(header.entry.path, "a header before was changed on the way");
  }
  if (bytes.substr(kTarBlock, records.size()) != records ||
      bytes.substr(bytes.size() - kTarBlock) != std::string_view(block.data(), block.size()) ||
      bytes.size() !=
          2 * kTarBlock + records.size() + tar_padding(static_cast<int64_t>(records.size()))) {
    return corrupt(header.entry.path, "its header is not as this format writes it");
  }
  return header;
}

}  // namespace transship::transfer
