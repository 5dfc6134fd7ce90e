#include "transfer/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>

namespace transship::transfer {
namespace {

// OpenSSL's digest calls fail only without memory or without the algorithm: nothing to recover.
void require(int ok) {
  if (ok != 1) std::abort();
}

const EVP_MD* algorithm() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return md;
}

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(context_ != nullptr && algorithm() != nullptr ? 1 : 0);
  require(EVP_DigestInit_ex2(context_.get(), algorithm(), nullptr));
}

void Sha256::update(std::span<const std::byte> data) {
  require(EVP_DigestUpdate(context_.get(), data.data(), data.size()));
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

void Sha256::update_zeros(int64_t count) {
  static constexpr std::array<std::byte, 65536> kZeros{};
  while (count > 0) {
    const auto part = std::min<int64_t>(count, static_cast<int64_t>(kZeros.size()));
    update(std::span(kZeros).first(static_cast<size_t>(part)));
    count -= part;
  }
}

Sha256::Digest Sha256::finish() {
  Digest digest{};
  require(
      EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  require(EVP_DigestInit_ex2(context_.get(), algorithm(), nullptr));
  return digest;
}

std::string to_hex(const Sha256::Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(digest.size() * 2);
  for (const std::byte byte : digest) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

bool parse_hex(std::string_view text, Sha256::Digest& digest) {
  if (text.size() != digest.size() * 2) return false;
  for (size_t i = 0; i < digest.size(); ++i) {
    const int high = nibble(text[2 * i]);
    const int low = nibble(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest[i] = static_cast<std::byte>(high * 16 + low);
  }
  return true;
}

}  // namespace transship::transfer
