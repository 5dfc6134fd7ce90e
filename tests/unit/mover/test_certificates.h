// A certificate authority for tests, and leaves as a migration has them.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace transship::mover {

class TestAuthority {
 public:
  TestAuthority()
      : key_(EVP_EC_gen("P-256")), certificate_(make("test authority", "", key_.get())) {}

  // Writes tls.crt (for the DNS SAN `name`, until `seconds` from now), tls.key and ca.crt into
  // `directory`, made where missing.
  void issue(const std::filesystem::path& directory, const std::string& name,
             long seconds = 3600) const {
    std::filesystem::create_directories(directory);
    const Key key(EVP_EC_gen("P-256"));
    const Certificate leaf = make(name, name, key.get(), seconds);
    write(directory / "tls.crt", [&](FILE* file) { PEM_write_X509(file, leaf.get()); });
    write(directory / "ca.crt", [&](FILE* file) { PEM_write_X509(file, certificate_.get()); });
    write(directory / "tls.key", [&](FILE* file) {
      PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Certificate = std::unique_ptr<X509, Free>;

  template <typename Write>
  static void write(const std::filesystem::path& path, Write&& body) {
    FILE* file = std::fopen(path.c_str(), "w");
    body(file);
    std::fclose(file);
  }

  static void extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }

  // The authority's own certificate where `dns_name` is empty.
  Certificate make(const std::string& common_name, const std::string& dns_name, EVP_PKEY* key,
                   long seconds = 3600) const {
    Certificate certificate(X509_new());
    X509* issuer = dns_name.empty() ? certificate.get() : certificate_.get();
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), dns_name.empty() ? 1 : ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), seconds);
    X509_set_pubkey(certificate.get(), key);
    // A common name has at most 64 characters; the SAN counts.
    const std::string subject = common_name.substr(0, 60);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
    if (dns_name.empty()) {
      extend(certificate.get(), issuer, NID_basic_constraints, "critical,CA:TRUE");
      extend(certificate.get(), issuer, NID_key_usage, "critical,keyCertSign");
    } else {
      extend(certificate.get(), issuer, NID_subject_alt_name, "DNS:" + dns_name);
      extend(certificate.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth");
    }
    X509_sign(certificate.get(), key_.get(), EVP_sha256());
    return certificate;
  }

  mutable long serial_ = 1;
  Key key_;
  Certificate certificate_;
};

}  // namespace transship::mover
