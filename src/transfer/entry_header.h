// EntryHeader: what precedes an entry's data in the stream, to and from its bytes: a pax header
// with its records and a ustar block (docs/stream.md).
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "transfer/entry.h"
#include "transfer/sha256.h"
#include "transfer/ustar.h"

namespace transship::transfer {

// What only the last entry, the root, says.
struct EndRecord {
  int64_t entries = 0;
  int64_t bytes = 0;
  std::string digest;        // of the volume, "sha256:…"
  Sha256::Digest headers{};  // of all header bytes before this very value
};

struct EntryHeader {
  Entry entry;
  std::optional<std::string> hard_link;    // the path of an earlier entry; no data follows
  uint32_t volume_project = 0;             // the first entry only: the root's project id
  bool linkable = false;                   // later entries may be hard links to this one
  bool sparse = false;                     // a map precedes the data
  int64_t stored_bytes = 0;                // of map and data, without the padding
  std::optional<Sha256::Digest> previous;  // the SHA-256 of the file before, if one came before
  std::optional<EndRecord> end;
};

// The bytes, whole blocks. `headers` is the digest of all header bytes so far; they are added to
// it. For an end record its `headers` field is filled in from it. kInvalid where a field does not
// fit.
Result<std::string> encode_entry_header(EntryHeader& header, Sha256& headers, size_t max_bytes);

// What an extended header's block ('x') announces: the size of its records.
Result<int64_t> extended_header_size(const UstarBlock& block);

// The header from the extended header's records and the entry's own ustar block; all must be
// exactly as encode_entry_header writes it, else kCorrupt. `headers` as there; an end record is
// compared.
Result<EntryHeader> decode_entry_header(std::string_view records, const UstarBlock& block,
                                        Sha256& headers);

}  // namespace transship::transfer
