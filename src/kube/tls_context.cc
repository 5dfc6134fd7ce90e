#include "kube/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <vector>

namespace transship::kube {
namespace {

template <auto release>
struct Releaser {
  template <typename T>
  void operator()(T* object) const {
    release(object);
  }
};
using Bio = std::unique_ptr<BIO, Releaser<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Releaser<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Releaser<EVP_PKEY_free>>;
using Store = std::unique_ptr<X509_STORE, Releaser<X509_STORE_free>>;
using Context = std::unique_ptr<SSL_CTX, Releaser<SSL_CTX_free>>;

Error tls_error(const std::string& what) {
  char reason[256] = "no PEM block in it";
  if (const unsigned long code = ERR_peek_last_error(); code != 0) {
    ERR_error_string_n(code, reason, sizeof reason);
  }
  ERR_clear_error();
  return {ErrorCode::kInvalid, what + ": " + reason};
}

Bio open(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Result<std::vector<Certificate>> parse_certificates(const std::string& pem,
                                                    const std::string& what) {
  ERR_clear_error();
  const Bio bio = open(pem);
  std::vector<Certificate> certificates;
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(next);
  }
  // No further block is how it ends; anything else is a broken one.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (certificates.empty() || !at_end) return tls_error(what);
  ERR_clear_error();
  return certificates;
}

Status trust(SSL_CTX* tls, const std::string& ca_pem) {
  auto authorities = parse_certificates(ca_pem, "the certificate authority");
  if (!authorities) return authorities.error();
  Store store(X509_STORE_new());
  for (const Certificate& authority : *authorities) {
    X509_STORE_add_cert(store.get(), authority.get());
  }
  // As in Go: whoever is named is trusted, also where it is itself signed by somebody.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls), X509_V_FLAG_PARTIAL_CHAIN);
  SSL_CTX_set_cert_store(tls, store.release());
  return {};
}

Status present(SSL_CTX* tls, const Credentials& credentials) {
  auto chain = parse_certificates(credentials.certificate, "the client certificate");
  if (!chain) return chain.error();
  const auto no_password = [](char*, int, int, void*) { return -1; };
  const Bio bio = open(credentials.key);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) return tls_error("the client key");
  if (SSL_CTX_use_certificate(tls, chain->front().get()) != 1) {
    return tls_error("the client certificate");
  }
  for (std::size_t i = 1; i < chain->size(); ++i) SSL_CTX_add1_chain_cert(tls, (*chain)[i].get());
  if (SSL_CTX_use_PrivateKey(tls, key.get()) != 1 || SSL_CTX_check_private_key(tls) != 1) {
    return tls_error("the client key does not belong to the client certificate");
  }
  return {};
}

}  // namespace

Status configure_tls(SSL_CTX* tls, const Credentials& credentials, bool tls13_only) {
  SSL_CTX_set_min_proto_version(tls, tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION);
  if (!credentials.ca.empty()) TRANSSHIP_TRY(trust(tls, credentials.ca));
  if (!credentials.certificate.empty()) TRANSSHIP_TRY(present(tls, credentials));
  return {};
}

Status check_tls(const Credentials& credentials) {
  const Context context(SSL_CTX_new(TLS_client_method()));
  return configure_tls(context.get(), credentials, false);
}

}  // namespace transship::kube
