// Sha256: an incremental SHA-256 (FIPS 180-4) over OpenSSL's EVP.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace transship::transfer {

class Sha256 {
 public:
  using Digest = std::array<std::byte, 32>;

  Sha256();
  void update(std::span<const std::byte> data);
  void update(std::string_view text);
  void update_zeros(int64_t count);
  // The digest of all since the start or the last finish(); begins anew.
  Digest finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string to_hex(const Sha256::Digest& digest);
bool parse_hex(std::string_view text, Sha256::Digest& digest);

}  // namespace transship::transfer
