#include "pki/certificates.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

namespace transship::pki {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate parse(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  Certificate out(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), X509_free);
  BIO_free(bio);
  return out;
}

bool chains(const std::string& leaf, const std::string& ca) {
  const Certificate certificate = parse(leaf);
  const Certificate authority = parse(ca);
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, authority.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, certificate.get(), nullptr);
  const bool valid = X509_verify_cert(context) == 1;
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return valid;
}

constexpr auto kDay = std::chrono::hours(24);

TEST(Certificates, EachLeafCarriesItsOwnNameAndChainsToTheMigrationsCa) {
  const auto made = make_certificates("3f0c7a52-0000-4000-8000-000000000001", 2, kDay);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(chains(made->sender.certificate, made->ca));
  EXPECT_TRUE(chains(made->receiver.certificate, made->ca));
  EXPECT_TRUE(chains(made->controller.certificate, made->ca));
  const std::string name = "3f0c7a52-0000-4000-8000-000000000001.sender.2";
  EXPECT_EQ(
      X509_check_host(parse(made->sender.certificate).get(), name.c_str(), name.size(), 0, nullptr),
      1);
  EXPECT_EQ(X509_check_host(parse(made->receiver.certificate).get(), name.c_str(), name.size(), 0,
                            nullptr),
            0);
}

TEST(Certificates, OfAnotherMigrationAreNotAccepted) {
  const auto one = make_certificates("one", 1, kDay);
  const auto two = make_certificates("two", 1, kDay);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_FALSE(chains(one->sender.certificate, two->ca));
}

}  // namespace
}  // namespace transship::pki
