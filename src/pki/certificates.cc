#include "pki/certificates.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <memory>

#include "api/mover_protocol.h"

namespace transship::pki {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using Number = std::unique_ptr<BIGNUM, Deleter<BN_free>>;

constexpr long kClockSkewSeconds = 300;

Error openssl_error(const std::string& tried) {
  std::string text(256, '\0');
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  return {ErrorCode::kInternal, tried + ": " + text.c_str()};
}

Result<Key> make_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("make a P-256 key");
  return key;
}

bool set_random_serial(X509* certificate) {
  Number number(BN_new());
  return number && BN_rand(number.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  Extension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// An unsigned certificate with what all have in common. The common name is cut to the 64 characters
// that X.520 allows; nobody reads it, names are checked by SAN.
Result<Certificate> blank(const std::string& name, EVP_PKEY* key, std::chrono::seconds valid) {
  Certificate certificate(X509_new());
  const std::string common = name.substr(0, 64);
  if (!certificate || X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      !set_random_serial(certificate.get()) ||
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kClockSkewSeconds) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), static_cast<long>(valid.count())) ==
          nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1 ||
      X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common.c_str()), -1, -1,
                                 0) != 1) {
    return openssl_error("make the certificate of " + name);
  }
  return certificate;
}

Result<std::string> to_pem(X509* certificate) {
  Bio bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1)
    return openssl_error("write a certificate");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

Result<std::string> to_pem(EVP_PKEY* key) {
  Bio bio(BIO_new(BIO_s_secmem()));
  if (!bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return openssl_error("write a key");
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

struct Authority {
  Key key;
  Certificate certificate;
};

Result<Authority> make_authority(const std::string& migration_uid, std::chrono::seconds valid) {
  auto key = make_key();
  if (!key) return key.error();
  auto made = blank("transship migration " + migration_uid, key->get(), valid);
  if (!made) return made.error();
  Certificate certificate = std::move(made).value();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  if (!add_extension(certificate.get(), certificate.get(), NID_basic_constraints,
                     "critical,CA:TRUE,pathlen:0") ||
      !add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign") ||
      !add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash") ||
      X509_sign(certificate.get(), key->get(), EVP_sha256()) == 0) {
    return openssl_error("sign the migration's CA");
  }
  return Authority{std::move(key).value(), std::move(certificate)};
}

Result<KeyPair> make_leaf(const Authority& authority, const std::string& name,
                          std::chrono::seconds valid) {
  auto key = make_key();
  if (!key) return key.error();
  auto made = blank(name, key->get(), valid);
  if (!made) return made.error();
  X509* certificate = made->get();
  X509* issuer = authority.certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
  if (!add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth") ||
      !add_extension(certificate, issuer, NID_subject_alt_name, "DNS:" + name) ||
      X509_sign(certificate, authority.key.get(), EVP_sha256()) == 0) {
    return openssl_error("sign the certificate of " + name);
  }
  auto certificate_pem = to_pem(certificate);
  if (!certificate_pem) return certificate_pem.error();
  auto key_pem = to_pem(key->get());
  if (!key_pem) return key_pem.error();
  return KeyPair{std::move(certificate_pem).value(), std::move(key_pem).value()};
}

}  // namespace

Result<MigrationCertificates> make_certificates(const std::string& migration_uid, int epoch,
                                                std::chrono::seconds valid) {
  auto authority = make_authority(migration_uid, valid);
  if (!authority) return authority.error();
  MigrationCertificates out;
  auto ca = to_pem(authority->certificate.get());
  if (!ca) return ca.error();
  out.ca = std::move(ca).value();
  const std::pair<KeyPair*, std::string> leaves[] = {
      {&out.sender, api::mover_name(migration_uid, api::MoverRole::kSender, epoch)},
      {&out.receiver, api::mover_name(migration_uid, api::MoverRole::kReceiver, epoch)},
      {&out.controller, api::controller_name(migration_uid)}};
  for (const auto& [pair, name] : leaves) {
    auto leaf = make_leaf(*authority, name, valid);
    if (!leaf) return leaf.error();
    *pair = std::move(leaf).value();
  }
  return out;
}

}  // namespace transship::pki
