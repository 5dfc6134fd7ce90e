#include "transfer/entry_header.h"

#include <algorithm>
#include <cstdio>

#include "transfer/pax.h"
#include "transfer/pax_keys.h"
#include "transfer/pax_time.h"

namespace transship::transfer {
namespace {

constexpr std::string_view kExtendedName = "PaxHeaders/transship";

char type_flag(const EntryHeader& header) {
  if (header.hard_link) return '1';
  switch (header.entry.kind) {
    case EntryKind::kRegular:
    case EntryKind::kSocket:
      return '0';
    case EntryKind::kDirectory:
      return '5';
    case EntryKind::kSymlink:
      return '2';
    case EntryKind::kFifo:
      return '6';
    case EntryKind::kCharDevice:
      return '3';
    case EntryKind::kBlockDevice:
      return '4';
  }
  return '0';
}

const std::string& link_name(const EntryHeader& header) {
  return header.hard_link ? *header.hard_link : header.entry.link_target;
}

// What tars that know nothing of GNU.sparse would call the file, after its own name.
std::string sparse_name(const std::string& path) {
  const std::string base = path.substr(path.rfind('/') + 1);
  return "GNUSparseFile.0/" + base.substr(0, UstarHeader::kNameMax - 16);
}

std::string stored_name(const EntryHeader& header) {
  if (header.sparse) return sparse_name(header.entry.path);
  return header.entry.path.substr(0, UstarHeader::kNameMax);
}

void append_names(std::string& text, const EntryHeader& header) {
  const std::string& path = header.entry.path;
  const std::string& link = link_name(header);
  const bool long_path = header.sparse || path.size() > UstarHeader::kNameMax;
  const bool long_link = link.size() > UstarHeader::kNameMax;
  if ((long_path && !is_utf8(path)) || (long_link && !is_utf8(link))) {
    append_pax_record(text, pax::kCharset, "BINARY");
  }
  if (header.sparse) {
    append_pax_record(text, pax::kSparseMajor, "1");
    append_pax_record(text, pax::kSparseMinor, "0");
    append_pax_record(text, pax::kSparseName, path);
    append_pax_record(text, pax::kSparseSize, std::to_string(header.entry.size));
  } else if (long_path) {
    append_pax_record(text, pax::kPath, path);
  }
  if (long_link) append_pax_record(text, pax::kLinkPath, link);
}

void append_end(std::string& text, const EntryHeader& header) {
  append_pax_record(text, pax::kVersion, pax::kVersionValue);
  append_pax_record(text, pax::kEntries, std::to_string(header.end->entries));
  append_pax_record(text, pax::kBytes, std::to_string(header.end->bytes));
  append_pax_record(text, pax::kDigest, header.end->digest);
}

// All records but the end's last one.
std::string encode_records(const EntryHeader& header) {
  const Entry& entry = header.entry;
  std::string text;
  append_names(text, header);
  if (header.stored_bytes > UstarHeader::kSizeMax) {
    append_pax_record(text, pax::kSize, std::to_string(header.stored_bytes));
  }
  if (entry.uid > UstarHeader::kIdMax)
    append_pax_record(text, pax::kUid, std::to_string(entry.uid));
  if (entry.gid > UstarHeader::kIdMax)
    append_pax_record(text, pax::kGid, std::to_string(entry.gid));
  append_pax_record(text, pax::kMtime,
                    format_pax_time(entry.mtime_seconds, entry.mtime_nanoseconds));
  for (const Xattr& xattr : entry.xattrs) {
    append_pax_record(text, pax::xattr_key(xattr.name), xattr.value);
  }
  if (entry.attributes.flags != 0)
    append_pax_record(text, pax::kFlags, flag_names(entry.attributes.flags));
  if (entry.attributes.project != 0)
    append_pax_record(text, pax::kProject, std::to_string(entry.attributes.project));
  if (header.volume_project != 0)
    append_pax_record(text, pax::kVolumeProject, std::to_string(header.volume_project));
  if (entry.kind == EntryKind::kSocket) append_pax_record(text, pax::kType, "socket");
  if (header.linkable) append_pax_record(text, pax::kLinkable, "1");
  if (header.previous) append_pax_record(text, pax::kPrevious, to_hex(*header.previous));
  if (header.end) append_end(text, header);
  return text;
}

UstarBlock own_block(const EntryHeader& header) {
  const Entry& entry = header.entry;
  UstarHeader block;
  block.name = stored_name(header);
  block.mode = entry.mode;
  block.uid = entry.uid > UstarHeader::kIdMax ? 0 : entry.uid;
  block.gid = entry.gid > UstarHeader::kIdMax ? 0 : entry.gid;
  block.size = header.stored_bytes > UstarHeader::kSizeMax ? 0 : header.stored_bytes;
  const bool mtime_fits = entry.mtime_seconds >= 0 && entry.mtime_seconds <= UstarHeader::kSizeMax;
  block.mtime = mtime_fits ? entry.mtime_seconds : 0;
  block.type = type_flag(header);
  block.link_name = link_name(header).substr(0, UstarHeader::kNameMax);
  block.device_major = entry.device_major;
  block.device_minor = entry.device_minor;
  return encode_ustar(block);
}

UstarBlock extended_block(int64_t size) {
  UstarHeader block;
  block.name = kExtendedName;
  block.mode = 0644;
  block.size = size;
  block.type = 'x';
  return encode_ustar(block);
}

void append_block(std::string& text, const UstarBlock& block) {
  text.append(block.data(), block.size());
}

}  // namespace

Result<std::string> encode_entry_header(EntryHeader& header, Sha256& headers, size_t max_bytes) {
  std::string records = encode_records(header);
  headers.update(records);
  if (header.end) {
    headers.update(std::string_view(own_block(header).data(), kTarBlock));
    header.end->headers = headers.finish();
    append_pax_record(records, pax::kHeaders, to_hex(header.end->headers));
  }
  if (records.size() > max_bytes) {
    return Error{ErrorCode::kInvalid, quoted(header.entry.path) +
                                          " has too long a name or too many extended attributes: " +
                                          std::to_string(records.size()) + " bytes, at most " +
                                          std::to_string(max_bytes) + " can be carried"};
  }
  std::string bytes;
  const auto size = static_cast<int64_t>(records.size());
  bytes.reserve(records.size() + 3 * kTarBlock);
  append_block(bytes, extended_block(size));
  bytes += records;
  bytes.append(tar_padding(size), '\0');
  const UstarBlock own = own_block(header);
  append_block(bytes, own);
  if (!header.end) headers.update(std::string_view(own.data(), own.size()));
  return bytes;
}

Result<int64_t> extended_header_size(const UstarBlock& block) {
  auto header = decode_ustar(block);
  if (!header) return header.error();
  if (extended_block(header->size) != block) {
    return Error{ErrorCode::kCorrupt, "a tar entry has no pax header of this format"};
  }
  return header->size;
}

}  // namespace transship::transfer
