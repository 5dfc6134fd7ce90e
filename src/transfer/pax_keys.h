// The keys of the stream's pax records (docs/stream.md).
#pragma once

#include <string>
#include <string_view>

namespace transship::transfer {

namespace pax {

inline constexpr std::string_view kCharset = "hdrcharset";
inline constexpr std::string_view kPath = "path";
inline constexpr std::string_view kLinkPath = "linkpath";
inline constexpr std::string_view kSize = "size";
inline constexpr std::string_view kUid = "uid";
inline constexpr std::string_view kGid = "gid";
inline constexpr std::string_view kMtime = "mtime";
inline constexpr std::string_view kSparseMajor = "GNU.sparse.major";
inline constexpr std::string_view kSparseMinor = "GNU.sparse.minor";
inline constexpr std::string_view kSparseName = "GNU.sparse.name";
inline constexpr std::string_view kSparseSize = "GNU.sparse.realsize";
inline constexpr std::string_view kXattr = "SCHILY.xattr.";
inline constexpr std::string_view kFlags = "SCHILY.fflags";
inline constexpr std::string_view kProject = "TRANSSHIP.project";
inline constexpr std::string_view kVolumeProject = "TRANSSHIP.volume.project";
inline constexpr std::string_view kType = "TRANSSHIP.type";
inline constexpr std::string_view kLinkable = "TRANSSHIP.linkable";
inline constexpr std::string_view kPrevious = "TRANSSHIP.previous.sha256";
inline constexpr std::string_view kVersion = "TRANSSHIP.end.version";
inline constexpr std::string_view kVersionValue = "1";
inline constexpr std::string_view kEntries = "TRANSSHIP.end.entries";
inline constexpr std::string_view kBytes = "TRANSSHIP.end.bytes";
inline constexpr std::string_view kDigest = "TRANSSHIP.end.digest";
inline constexpr std::string_view kHeaders = "TRANSSHIP.end.headers.sha256";

// "SCHILY.xattr.user.a"; '%' and '=' in the name as %25 and %3D, as GNU tar writes them.
std::string xattr_key(std::string_view name);
// The name from such a key.
std::string xattr_name(std::string_view key);

}  // namespace pax

// Whether `text` is well-formed UTF-8 (RFC 3629).
bool is_utf8(std::string_view text);

}  // namespace transship::transfer
