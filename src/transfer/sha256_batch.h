// SHA-256 of several contents at once: two side by side take little longer than one alone, since
// each step of a digest waits for the one before it.
#pragma once

#include <span>

#include "transfer/sha256.h"

namespace transship::transfer {

// Whether the processor has the instructions that it takes (x86-64's SHA extensions).
bool can_hash_side_by_side();

// The digest of each content into its place; there are as many of the ones as of the others. Where
// they are not hashed side by side, they are by OpenSSL, one after the other.
void sha256_each(std::span<const std::string_view> contents, std::span<Sha256::Digest> digests,
                 bool side_by_side = can_hash_side_by_side());

}  // namespace transship::transfer
