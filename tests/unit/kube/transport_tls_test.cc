#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/unit/kube/dial.h"
#include "tests/unit/mover/test_certificates.h"

namespace transship::kube {
namespace {

using testing::HasSubstr;

// A server "mover-a" and a client, both of one authority; another authority is "stranger".
class Tls : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] =
        "/tmp/transship-tls-XX"
        "XX"
        "XX";
    directory_ = ::mkdtemp(pattern);
    ours_.issue(directory_ / "server", "mover-a");
    ours_.issue(directory_ / "client", "controller");
    stranger_.issue(directory_ / "stranger", "mover-a");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::string read(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(directory_ / path).rdbuf();
    return text.str();
  }
  [[nodiscard]] TestServer::Tls server() const { return {.directory = directory_ / "server"}; }
  [[nodiscard]] Credentials trusting(const std::string& who) const {
    return {.ca = read(who + "/ca.crt")};
  }
  [[nodiscard]] Credentials with_certificate(const std::string& who) const {
    return {.ca = read("server/ca.crt"),
            .certificate = read(who + "/tls.crt"),
            .key = read(who + "/tls.key")};
  }
  // "200", or the error's code and message.
  static std::string ask(const TestServer& server, const Credentials& credentials,
                         const std::string& name, const std::string& host_override = "") {
    return ask(Endpoint{.base_url = server.url(),
                        .credentials = fixed_credentials(credentials),
                        .tls_server_name = name},
               host_override);
  }
  static std::string ask(Endpoint endpoint, const std::string& host_override = "") {
    const auto answer =
        dial(std::move(endpoint))->request({.target = "/", .host_override = host_override});
    if (answer.ok()) return std::to_string(answer->status);
    return std::string(to_string(answer.error().code)) + " " + answer.error().message;
  }

  std::filesystem::path directory_;

 private:
  mover::TestAuthority ours_;
  mover::TestAuthority stranger_;
};

constexpr const char* kRefused = "Invalid .*TLS handshake.*its certificate is";

TEST_F(Tls, AServerIsKnownByTheNameInItsCertificate) {
  TestServer there(server(), hello);
  EXPECT_EQ(ask(there, trusting("server"), "mover-a"), "200");
  EXPECT_EQ(ask(there, trusting("server"), "mover-b", "mover-a"), "200");
  EXPECT_THAT(ask(there, trusting("server"), "mover-b"), testing::ContainsRegex(kRefused));
  EXPECT_THAT(ask(there, trusting("server"), "mover-a", "mover-b"),
              testing::ContainsRegex(kRefused));
  // By its address, which is not in the certificate.
  EXPECT_THAT(ask(there, trusting("server"), ""), testing::ContainsRegex(kRefused));
}

TEST_F(Tls, AConnectionMadeForOneNameIsNotUsedForAnother) {
  TestServer there(server(), hello);
  const auto transport = dial(Endpoint{.base_url = there.url(),
                                       .credentials = fixed_credentials(trusting("server")),
                                       .tls_server_name = "mover-a"});
  EXPECT_TRUE(transport->request({.target = "/"}).ok());
  EXPECT_FALSE(transport->request({.target = "/", .host_override = "mover-b"}).ok());
}

TEST_F(Tls, OnlyTheGivenAuthorityIsTrusted) {
  TestServer there(server(), hello);
  EXPECT_THAT(ask(there, trusting("stranger"), "mover-a"), testing::ContainsRegex(kRefused));
  // Not even those that the system trusts; which it does where none is given.
  ::setenv("SSL_CERT_FILE", (directory_ / "server" / "ca.crt").c_str(), 1);
  EXPECT_EQ(ask(there, {}, "mover-a"), "200");
  EXPECT_THAT(ask(there, trusting("stranger"), "mover-a"), testing::ContainsRegex(kRefused));
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_THAT(ask(there, {}, "mover-a"), testing::ContainsRegex(kRefused));
}

TEST_F(Tls, InsecureMeansAnyCertificate) {
  TestServer there(server(), hello);
  EXPECT_EQ(ask(Endpoint{.base_url = there.url(),
                         .credentials = fixed_credentials(trusting("stranger")),
                         .tls_server_name = "mover-b",
                         .insecure = true}),
            "200");
}

TEST_F(Tls, AServerThatWantsACertificateRefusesWhoHasNone) {
  auto tls = server();
  tls.want_client_certificate = true;
  TestServer there(tls, hello);
  EXPECT_EQ(ask(there, with_certificate("client"), "mover-a"), "200");
  EXPECT_THAT(ask(there, trusting("server"), "mover-a"), testing::StartsWith("Unavailable"));
  EXPECT_THAT(ask(there, with_certificate("stranger"), "mover-a"),
              testing::StartsWith("Unavailable"));
}

TEST_F(Tls, OlderThan13IsRefusedWhereItIsRequired) {
  auto tls = server();
  tls.newest = TLS1_2_VERSION;
  TestServer there(tls, hello);
  EXPECT_EQ(ask(there, trusting("server"), "mover-a"), "200");
  const Endpoint strict{.base_url = there.url(),
                        .credentials = fixed_credentials(trusting("server")),
                        .tls_server_name = "mover-a",
                        .tls13_only = true};
  EXPECT_THAT(ask(strict), testing::StartsWith("Invalid"));
  TestServer newer(server(), hello);
  Endpoint reached = strict;
  reached.base_url = newer.url();
  EXPECT_EQ(ask(reached), "200");
}

TEST_F(Tls, KeysThatCannotBeReadAreSaid) {
  TestServer there(server(), hello);
  EXPECT_THAT(ask(there, {.ca = "no certificate"}, "mover-a"),
              HasSubstr("the certificate authority"));
  Credentials mixed = with_certificate("client");
  mixed.key = read("stranger/tls.key");
  EXPECT_THAT(ask(there, mixed, "mover-a"), HasSubstr("does not belong"));
  mixed.key = "";
  EXPECT_THAT(ask(there, mixed, "mover-a"), HasSubstr("the client key"));
}

TEST_F(Tls, NewKeysAreUsedForTheNextRequest) {
  class Rotating : public CredentialSource {
   public:
    Result<Credentials> get() override { return now; }
    Credentials now;
  };
  auto tls = server();
  tls.want_client_certificate = true;
  TestServer there(tls, hello);
  const auto credentials = std::make_shared<Rotating>();
  credentials->now = trusting("server");
  const auto transport = dial(
      Endpoint{.base_url = there.url(), .credentials = credentials, .tls_server_name = "mover-a"});
  EXPECT_FALSE(transport->request({.target = "/"}).ok());
  credentials->now = with_certificate("client");
  EXPECT_TRUE(transport->request({.target = "/"}).ok());
}

TEST_F(Tls, AnIpv6AddressIsDialled) {
  TestServer there(server(), hello, /*v6=*/true);
  if (there.port() == 0) GTEST_SKIP() << "this machine has no IPv6";
  EXPECT_EQ(ask(Endpoint{.base_url = there.url("[::1]"),
                         .credentials = fixed_credentials(trusting("server")),
                         .tls_server_name = "mover-a"}),
            "200");
}

}  // namespace
}  // namespace transship::kube
