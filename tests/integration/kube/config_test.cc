// Every way to say who we are, against a real API server.
#include "kube/config.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/integration/kube/api_server.h"

namespace transship::kube {
namespace {

class Login : public ApiServerTest {
 protected:
  static std::string write(const std::string& name, const std::string& text) {
    const auto path = scratch_directory() / name;
    std::ofstream(path) << text;
    return path;
  }
  static Credentials admin() { return *config(kubeconfig()).endpoint.credentials->get(); }
  [[nodiscard]] std::string server() const { return config(kubeconfig()).endpoint.base_url; }
  // The user that the server takes us for, or the error's code.
  static std::string who_am_i(const Config& config) {
    Client client = connect(config);
    const Resource review{"authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview",
                          false};
    const auto answer = client.create(review, "", Json::object());
    if (!answer.ok()) return std::string(to_string(answer.error().code));
    return answer->at("status").at("userInfo").at("username");
  }
  [[nodiscard]] Config with_user(const std::string& user) const {
    write("ca.crt", admin().ca);
    return config(write("kubeconfig", "clusters: [{name: c, cluster: {server: '" + server() +
                                          "', certificate-authority: ca.crt}}]\n"
                                          "users: [{name: u, user: " +
                                          user +
                                          "}]\ncontexts: [{name: x, context: {cluster: c, user: "
                                          "u}}]\ncurrent-context: x\n"));
  }
};

TEST_F(Login, ByToken) { EXPECT_EQ(who_am_i(config(kubeconfig("admin"))), "admin"); }

TEST_F(Login, ByCertificate) {
  EXPECT_EQ(who_am_i(config(kubeconfig("admin-certificate"))), "admin");
}

TEST_F(Login, ByTokenFileThatIsReplaced) {
  write("token", "expired");
  const Config rotating = with_user("{tokenFile: token}");
  EXPECT_EQ(who_am_i(rotating), "Forbidden");
  write("token", admin().token + "\n");
  EXPECT_EQ(who_am_i(rotating), "admin");
}

TEST_F(Login, ByExecPlugin) {
  const std::string plugin = write("plugin", R"(#!/bin/sh
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": ")" +
                                                 admin().token + "\"}}'\n");
  ::chmod(plugin.c_str(), 0755);
  EXPECT_EQ(who_am_i(with_user("{exec: {apiVersion: client.authentication.k8s.io/v1, command: "
                               "./plugin, interactiveMode: Never}}")),
            "admin");
}

TEST_F(Login, AWrongTokenIsForbidden) {
  EXPECT_EQ(who_am_i(with_user("{token: wrong}")), "Forbidden");
}

TEST_F(Login, AServerOfAnotherAuthorityIsRefused) {
  // The administrator's certificate signed nothing.
  Config config = with_user("{token: wrong}");
  const auto leaf = ApiServerTest::config(kubeconfig("admin-certificate")).endpoint.credentials;
  config.endpoint.credentials =
      fixed_credentials({.ca = leaf->get()->certificate, .token = admin().token});
  EXPECT_EQ(who_am_i(config), "Invalid");
}

TEST_F(Login, TheServersNameIsVerified) {
  Config named = config(kubeconfig());
  named.endpoint.tls_server_name = "kubernetes.default.svc";
  EXPECT_EQ(who_am_i(named), "admin");
  named.endpoint.tls_server_name = "elsewhere.example";
  EXPECT_EQ(who_am_i(named), "Invalid");
}

TEST_F(Login, AsAPod) {
  write("ca.crt", admin().ca);
  write("token", admin().token);
  const std::string url = server();
  const std::string authority = url.substr(url.find("//") + 2);
  ::setenv("KUBERNETES_SERVICE_HOST", authority.substr(0, authority.find(':')).c_str(), 1);
  ::setenv("KUBERNETES_SERVICE_PORT", authority.substr(authority.find(':') + 1).c_str(), 1);
  const auto pod = in_cluster_config({.directory = scratch_directory()});
  ASSERT_TRUE(pod.ok()) << pod.error().message;
  EXPECT_EQ(who_am_i(*pod), "admin");
}

}  // namespace
}  // namespace transship::kube
